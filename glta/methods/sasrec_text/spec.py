"""SASRec + text: self-attention over items that a language model has read."""

from typing import Annotated, Literal

from pydantic import Field

from glta.config import Choices
from glta.methods.shared.settings import SingularPower
from glta.methods.spec import Ablation, MethodSpec, StepSpec
from glta.nn.sequence.settings import SequenceTraining


class SASRecTextSettings(SequenceTraining):
    """SASRec + text: the embedding of an item has a part from its text."""

    text: Annotated[Literal["states", "tfidf"], Choices("states", "tfidf")] = Field(
        "states",
        description="states: of the language model; tfidf: words, reduced to vectors of 384 "
        "numbers; new items cannot be scored by these",
    )
    singular_power: SingularPower = 1.0
    ids: bool = Field(
        True, description="false: the embedding of an item is the map of its text alone"
    )


SPEC = MethodSpec(
    name="sasrec-text",
    title="SASRec + text",
    paper="SASRec, arXiv 1808.09781, with item texts as in Harte et al., RecSys 2023, "
    "arXiv 2309.09261",
    settings=SASRecTextSettings,
    recommender="glta.methods.sasrec_text.model:SASRecText",
    steps=(
        StepSpec(
            "sasrec-text",
            "glta.methods.sasrec_text.model:TrainSASRecText",
            reads=("prepare", "profile"),
            shares=True,
        ),
    ),
    ablations={
        "without-ids": Ablation({"ids": False}),
        # what the language model adds to the words that it has read
        "words": Ablation({"text": "tfidf"}),
    },
    capabilities=frozenset({"sequences", "new_items"}),
    devices=("cpu", "cuda"),
    place=117,
)
