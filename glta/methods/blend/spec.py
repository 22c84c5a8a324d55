"""Blend: a weighted sum of the scores of several methods."""

from typing import Literal

from pydantic import Field

from glta.methods.shared.settings import WeightSettings
from glta.methods.spec import Ablation, MethodSpec, StepSpec


class BlendSettings(WeightSettings):
    """Blend: a weighted sum of the scores of several methods."""

    components: list[
        Literal["ease", "cease", "lightgcn", "text-knn", "text-ridge", "word-ridge"]
    ] = Field(
        ["ease", "lightgcn", "text-knn"],
        min_length=2,
        description="methods whose scores are added up; each has its own settings",
    )


SPEC = MethodSpec(
    name="blend",
    title="Blend",
    paper="a control without a paper",
    settings=BlendSettings,
    recommender="glta.methods.blend.model:Blend",
    steps=(
        StepSpec(
            "blend",
            "glta.methods.blend.model:ChooseBlend",
            reads=(
                "prepare",
                "ease",
                "cease",
                "lightgcn",
                "text-knn",
                "text-ridge",
                "word-ridge",
            ),
        ),
    ),
    ablations={
        "cease": Ablation({"components": ["cease", "lightgcn", "text-knn"]}),
        "text-ridge": Ablation({"components": ["cease", "lightgcn", "text-ridge"]}),
        # the same without a language model
        "words": Ablation({"components": ["ease", "lightgcn", "word-ridge"]}),
    },
    capabilities=frozenset({"histories", "new_items"}),
    place=125,
)
