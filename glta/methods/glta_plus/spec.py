"""GLTA+: graph and language tokens matched by one map, in closed form."""

from typing import Annotated, Literal

from pydantic import Field

from glta.config import Cost, Search, Section
from glta.methods.spec import MethodSpec, StepSpec


class GLTAPlusSettings(Section):
    """GLTA+: graph and language tokens matched by one map, in closed form."""

    l2: Annotated[float, Search(1.0, 1e4, log=True)] = Field(
        300.0, gt=0, description="L2 penalty (ridge) of the token map"
    )
    max_items: Annotated[int, Cost()] = Field(
        10_000,
        ge=1,
        description="larger catalogues are an error: the inverse of an I x I matrix takes 20 I^2 "
        "bytes and about I^3 steps",
    )
    text_weight: Annotated[float, Search(0.1, 1e3, log=True)] = Field(
        50.0, ge=0, description="weight of the language tokens in the token map; a user has 1"
    )
    user_power: Annotated[float, Search(0.0, 1.0)] = Field(
        0.4,
        ge=0,
        le=1,
        description="a user with n items has the weight n^-user_power, so that long histories do "
        "not dominate; 0: all users alike",
    )
    components: list[Literal["matched", "graph", "text"]] = Field(
        ["matched", "graph", "text"],
        min_length=1,
        description="component scores that may be part of the sum; the others have weight 0",
    )
    weight_steps: int = Field(
        11, ge=2, le=101, description="number of weights tried for each component, from 0 to 1"
    )


SPEC = MethodSpec(
    name="glta-plus",
    title="GLTA+",
    paper="this project (docs/method.md)",
    settings=GLTAPlusSettings,
    recommender="glta.methods.glta_plus.model:GLTAPlus",
    steps=(
        StepSpec(
            "glta-plus",
            "glta.methods.glta_plus.model:MatchTokens",
            reads=("prepare", "profile", "pretrain-all"),
        ),
    ),
    capabilities=frozenset({"histories", "new_items"}),
    place=120,
)
