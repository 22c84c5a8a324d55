"""GLTA+: GLTA's read-outs, together with linear, graph and text evidence."""

from typing import Literal

from pydantic import Field

from glta.methods.shared.settings import WeightSettings
from glta.methods.spec import MethodSpec, StepSpec


class GLTAPlusSettings(WeightSettings):
    """GLTA+: a weighted sum of GLTA's read-outs and of other evidence."""

    components: list[Literal["cease", "lightgcn", "text-ridge", "glta"]] = Field(
        ["cease", "lightgcn", "text-ridge", "glta"],
        min_length=2,
        description="methods whose scores are added up; each has its own settings",
    )


SPEC = MethodSpec(
    name="glta-plus",
    title="GLTA+",
    paper="an extension of GLTA, without a paper",
    settings=GLTAPlusSettings,
    recommender="glta.methods.glta_plus.model:GLTAPlus",
    steps=(
        StepSpec(
            "glta-plus",
            "glta.methods.glta_plus.model:ChooseEvidence",
            reads=("prepare", "cease", "lightgcn", "text-ridge", "glta"),
        ),
    ),
    # without the read-outs it is blend-text-ridge, and without a language model blend-words
    capabilities=frozenset({"histories", "new_items"}),
    place=130,
)
