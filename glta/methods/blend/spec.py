"""Blend: a weighted sum of the scores of several methods."""

from typing import Literal

from pydantic import Field, field_validator

from glta.config import Section
from glta.methods.spec import Ablation, MethodSpec, StepSpec


class BlendSettings(Section):
    """Blend: a weighted sum of the scores of several methods."""

    components: list[Literal["ease", "cease", "lightgcn", "text-knn"]] = Field(
        ["ease", "lightgcn", "text-knn"],
        min_length=2,
        description="methods whose scores are added up; each has its own settings",
    )
    weight_steps: int = Field(
        11,
        ge=2,
        le=101,
        description="number of weights tried on validation for each component, from 0 to 1",
    )

    @field_validator("components")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if twice := [name for name in value if value.count(name) > 1]:
            raise ValueError(f"names {twice[0]} twice; name it once")
        return value


SPEC = MethodSpec(
    name="blend",
    title="Blend",
    paper="a control without a paper",
    settings=BlendSettings,
    recommender="glta.methods.blend.model:Blend",
    steps=(
        StepSpec(
            "blend",
            "glta.methods.blend.model:ChooseWeights",
            reads=("prepare", "ease", "cease", "lightgcn", "text-knn"),
        ),
    ),
    ablations={"cease": Ablation({"components": ["cease", "lightgcn", "text-knn"]})},
    capabilities=frozenset({"histories", "new_items"}),
    place=125,
)
