"""GF-CF: a linear filter of the item-item graph plus a low-pass filter."""

from typing import Annotated

from pydantic import Field

from glta.config import Search, Section
from glta.methods.spec import MethodSpec, StepSpec


class GFCFSettings(Section):
    """GF-CF: graph filters in closed form."""

    rank: Annotated[int, Search(16, 1024, log=True)] = Field(
        256, ge=1, le=8192, description="singular vectors that the low-pass filter lets through"
    )
    alpha: Annotated[float, Search(0.01, 10.0, log=True)] = Field(
        0.3, ge=0, description="weight of the low-pass filter; the linear filter has weight 1"
    )


SPEC = MethodSpec(
    name="gf-cf",
    title="GF-CF",
    paper="Shen et al., CIKM 2021, arXiv 2108.07567",
    settings=GFCFSettings,
    recommender="glta.methods.gf_cf.model:GFCF",
    steps=(StepSpec("gf-cf", "glta.methods.gf_cf.model:FilterGraph"),),
    capabilities=frozenset({"histories"}),
    place=46,
)
