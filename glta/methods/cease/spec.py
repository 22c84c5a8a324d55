"""CEASE: a linear item-item model of interactions and texts."""

from typing import Annotated

from pydantic import Field

from glta.config import Cost, Search, Section
from glta.methods.shared.settings import Recency, UserPower, WordRank
from glta.methods.spec import Ablation, MethodSpec, StepSpec


class CEASESettings(Section):
    """CEASE: EASE with the texts of items as further, weighted rows, solved in closed form."""

    l2: Annotated[float, Search(1.0, 1e4, log=True)] = Field(
        300.0, gt=0, description="L2 penalty (ridge) of the map"
    )
    text_weight: Annotated[float, Search(0.1, 1e3, log=True)] = Field(
        50.0, ge=0, description="weight of the text rows; a user has 1"
    )
    state_share: Annotated[float, Search(0.0, 1.0)] = Field(
        1.0,
        ge=0,
        le=1,
        description="how much of an item's text row are states of the language model; the rest are "
        "words; 0: words alone, and no scores for items that are added later",
    )
    word_rank: WordRank = 768
    user_power: Annotated[UserPower, Search(0.0, 1.0)] = Field(0.4, ge=0, le=1)
    recency: Recency = 1.0
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
    ablations={
        # the same without a language model
        "words": Ablation({"state_share": 0.0}),
        "states-and-words": Ablation({"state_share": 0.5}),
    },
    capabilities=frozenset({"histories", "sequences", "new_items"}),
    place=120,
)
