"""Text map: text-kNN in a space that is learnt from the interactions."""

from typing import Annotated

from pydantic import Field

from glta.config import Choices, Positive, Search
from glta.methods.spec import Ablation, MethodSpec, StepSpec
from glta.nn.text.settings import TextTraining


class TextMapSettings(TextTraining):
    """Text map: each item of a user is predicted from the mapped texts of the others."""

    # found on validation of amazon-office-partial and ml-latest-small
    temperature: Annotated[float, Search(0.05, 0.5, log=True)] = Field(
        0.1, gt=0, description="divides the cosines in the softmax"
    )
    learning_rate: Annotated[float, Search(1e-4, 2e-2, log=True)] = Field(
        5e-3, gt=0, le=1, description="learning rate of Adam"
    )
    batch_size: Annotated[Positive, Choices(1024, 2048, 4096)] = Field(
        1024, description="interactions in a training step"
    )


SPEC = MethodSpec(
    name="text-map",
    title="Text map",
    paper="a control without a paper",
    settings=TextMapSettings,
    recommender="glta.methods.text_map.model:TextMap",
    steps=(
        StepSpec(
            "text-map",
            "glta.methods.text_map.model:TrainTextMap",
            reads=("prepare", "profile"),
            shares=True,
        ),
    ),
    ablations={"linear": Ablation({"map": "linear"})},
    capabilities=frozenset({"histories", "new_items"}),
    devices=("cpu", "cuda"),
    place=25,
)
