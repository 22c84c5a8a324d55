"""Text map: text-kNN in a space that is learnt from the interactions."""

from glta.methods.spec import Ablation, MethodSpec, StepSpec
from glta.nn.text.settings import TextTraining


class TextMapSettings(TextTraining):
    """Text map: each item of a user is predicted from the mapped texts of the others."""


SPEC = MethodSpec(
    name="text-map",
    title="Text map",
    paper="a control without a paper",
    settings=TextMapSettings,
    recommender="glta.methods.text_map.model:TextMap",
    steps=(
        StepSpec(
            "text-map", "glta.methods.text_map.model:TrainTextMap", reads=("prepare", "profile")
        ),
    ),
    ablations={"linear": Ablation({"map": "linear"})},
    capabilities=frozenset({"histories", "new_items"}),
    devices=("cpu", "cuda"),
    place=25,
)
