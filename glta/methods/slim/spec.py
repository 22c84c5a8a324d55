"""SLIM: a sparse linear item-item model with non-negative weights."""

from typing import Annotated

from pydantic import Field

from glta.config import Search, Section
from glta.methods.spec import MethodSpec, StepSpec


class SLIMSettings(Section):
    """SLIM: a sparse linear item-item model with non-negative weights."""

    l1: Annotated[float, Search(1e-3, 30.0, log=True)] = Field(
        1.0, gt=0, description="L1 penalty, which makes weights 0"
    )
    l2: Annotated[float, Search(0.1, 1000.0, log=True)] = Field(
        10.0, gt=0, description="L2 penalty, which spreads weight over similar items"
    )
    neighbours: Annotated[int, Search(20, 1000, log=True)] = Field(
        500, ge=1, description="largest weights that are kept for each predicted item"
    )


SPEC = MethodSpec(
    name="slim",
    title="SLIM",
    paper="Ning and Karypis, ICDM 2011",
    settings=SLIMSettings,
    recommender="glta.methods.slim.model:SLIM",
    steps=(StepSpec("slim", "glta.methods.slim.model:FitSLIM"),),
    capabilities=frozenset({"histories"}),
    place=42,
)
