"""EASE: a linear item-item model."""

from typing import Annotated

from pydantic import Field

from glta.config import Cost, Search, Section
from glta.methods.spec import MethodSpec, StepSpec


class EASESettings(Section):
    """EASE: a linear item-item model, solved in closed form."""

    l2: Annotated[float, Search(1.0, 1e4, log=True)] = Field(
        100.0, gt=0, description="L2 penalty: added to the diagonal of the item-item counts"
    )
    max_items: Annotated[int, Cost()] = Field(
        10_000,
        ge=1,
        description="larger catalogues are an error: the inverse of an I x I matrix takes 20 I^2 "
        "bytes and about I^3 steps",
    )


SPEC = MethodSpec(
    name="ease",
    title="EASE",
    paper='Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019',
    settings=EASESettings,
    recommender="glta.methods.ease.model:EASE",
    steps=(StepSpec("ease", "glta.methods.ease.model:SolveEASE"),),
    capabilities=frozenset({"histories"}),
    place=40,
)
