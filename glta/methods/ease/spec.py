"""EASE: a linear item-item model."""

from typing import Annotated

from pydantic import Field

from glta.config import Cost, Search, Section
from glta.methods.shared.settings import Recency
from glta.methods.spec import MethodSpec, StepSpec


class EASESettings(Section):
    """EASE: a linear item-item model, solved in closed form."""

    l2: Annotated[float, Search(1.0, 1e4, log=True)] = Field(
        100.0, gt=0, description="L2 penalty: added to the diagonal of the item-item counts"
    )
    recency: Recency = 1.0
    neighbours: int | None = Field(
        None,
        ge=1,
        description="predict each item from so many items, the most similar ones; null: from all "
        "others, exactly",
    )
    max_gb: Annotated[float, Cost()] = Field(
        8.0,
        gt=0,
        description="larger catalogues are an error while neighbours is null: I items need 12 I^2 "
        "bytes and about I^3 steps",
    )


SPEC = MethodSpec(
    name="ease",
    title="EASE",
    paper='Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019',
    settings=EASESettings,
    recommender="glta.methods.ease.model:EASE",
    steps=(StepSpec("ease", "glta.methods.ease.model:SolveEASE"),),
    capabilities=frozenset({"histories", "sequences"}),
    place=40,
)
