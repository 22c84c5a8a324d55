"""Blend of sequences: a weighted sum of methods that read the order of items, and CEASE."""

from typing import Literal

from pydantic import Field

from glta.methods.shared.settings import WeightSettings
from glta.methods.spec import Ablation, MethodSpec, StepSpec


class SequenceBlendSettings(WeightSettings):
    """Blend of sequences: a weighted sum of the scores of several methods."""

    components: list[
        Literal["ease", "cease", "transitions", "transitions-text", "sasrec", "sasrec-text"]
    ] = Field(
        ["cease", "transitions-text", "sasrec-text"],
        min_length=2,
        description="methods whose scores are added up; each has its own settings",
    )


SPEC = MethodSpec(
    name="blend-sequences",
    title="Blend of sequences",
    paper="a control without a paper",
    settings=SequenceBlendSettings,
    recommender="glta.methods.blend_sequences.model:SequenceBlend",
    steps=(
        StepSpec(
            "blend-sequences",
            "glta.methods.blend_sequences.model:ChooseSequenceWeights",
            reads=(
                "prepare",
                "ease",
                "cease",
                "transitions",
                "transitions-text",
                "sasrec",
                "sasrec-text",
            ),
        ),
    ),
    # the same without any text: what the texts, and the model that read them, add
    ablations={"without-texts": Ablation({"components": ["ease", "transitions", "sasrec"]})},
    capabilities=frozenset({"sequences", "new_items"}),
    place=127,
)
