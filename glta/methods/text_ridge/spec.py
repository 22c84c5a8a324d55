"""Text ridge: ridge regression of users on what a language model and words say of items."""

from typing import Annotated

from pydantic import Field

from glta.config import Search
from glta.methods.shared.settings import WordRidgeSettings
from glta.methods.spec import Ablation, MethodSpec, StepSpec


class TextRidgeSettings(WordRidgeSettings):
    """Text ridge: ridge regression on text states and words."""

    state_share: Annotated[float, Search(0.05, 1.0)] = Field(
        0.5,
        gt=0,
        le=1,
        description="how much of an item's text features are states of the language model; the "
        "rest are words",
    )


SPEC = MethodSpec(
    name="text-ridge",
    title="Text ridge",
    paper="a baseline without a paper",
    settings=TextRidgeSettings,
    recommender="glta.methods.text_ridge.model:TextRidge",
    steps=(
        StepSpec(
            "text-ridge", "glta.methods.text_ridge.model:FitTextRidge", reads=("prepare", "profile")
        ),
    ),
    ablations={"states-alone": Ablation({"state_share": 1.0})},
    capabilities=frozenset({"histories", "new_items"}),
    place=22,
)
