"""CEASE: a linear item-item model of interactions and texts."""

from typing import Annotated

from pydantic import Field

from glta.config import Cost, Search, Section
from glta.methods.spec import MethodSpec, StepSpec


class CEASESettings(Section):
    """CEASE: EASE with the texts of items as further, weighted rows, solved in closed form."""

    l2: Annotated[float, Search(1.0, 1e4, log=True)] = Field(
        300.0, gt=0, description="L2 penalty (ridge) of the map"
    )
    text_weight: Annotated[float, Search(0.1, 1e3, log=True)] = Field(
        50.0, ge=0, description="weight of the text rows; a user has 1"
    )
    user_power: Annotated[float, Search(0.0, 1.0)] = Field(
        0.4,
        ge=0,
        le=1,
        description="a user with n items has the weight n^-user_power, so that long histories do "
        "not dominate; 0: all users alike",
    )
    recency: Annotated[float, Search(0.5, 1.0, ordered=True)] = Field(
        1.0,
        gt=0,
        le=1,
        description="a score weighs each item of the user by recency^age, with age 0 for the "
        "newest; 1: all alike; less needs times",
    )
    max_gb: Annotated[float, Cost()] = Field(
        8.0,
        gt=0,
        description="larger catalogues are an error: I items need 12 I^2 bytes and about I^3 steps",
    )


SPEC = MethodSpec(
    name="cease",
    title="CEASE",
    paper="Jeunen et al., RecSys 2020, with weighted users",
    settings=CEASESettings,
    recommender="glta.methods.cease.model:CEASE",
    steps=(StepSpec("cease", "glta.methods.cease.model:SolveCEASE", reads=("prepare", "profile")),),
    capabilities=frozenset({"histories", "sequences", "new_items"}),
    place=120,
)
