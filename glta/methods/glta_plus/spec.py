"""GLTA+: graph and language tokens matched by one map, in closed form."""

from typing import Annotated, Literal

from pydantic import Field

from glta.config import Search, Section
from glta.methods.spec import MethodSpec, StepSpec


class GLTAPlusSettings(Section):
    """Match graph and language tokens at once, in closed form."""

    l2: Annotated[float, Search(1.0, 1e4, log=True)] = Field(
        300.0, gt=0, description="ridge of the token map"
    )
    max_items: int = Field(
        10_000,
        ge=1,
        description="refuse larger catalogues: an I x I inverse takes 20 I^2 bytes and about I^3 "
        "steps",
    )
    text_weight: Annotated[float, Search(0.1, 1e3, log=True)] = Field(
        50.0, ge=0, description="of the language tokens in the token map, against one user"
    )
    user_power: Annotated[float, Search(0.0, 1.0)] = Field(
        0.4,
        ge=0,
        le=1,
        description="a user of n items counts n^-user_power times, so that long histories do not "
        "rule",
    )
    components: list[Literal["matched", "graph", "text"]] = Field(
        ["matched", "graph", "text"],
        min_length=1,
        description="component scores that may have weight in the sum; others have none",
    )
    weight_steps: int = Field(
        11, ge=2, le=101, description="weights tried on validation for each of the components"
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
