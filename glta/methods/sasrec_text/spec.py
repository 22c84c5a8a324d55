"""SASRec + text: self-attention over items that a language model has read."""

from pydantic import Field

from glta.methods.spec import Ablation, MethodSpec, StepSpec
from glta.nn.sequence.settings import SequenceTraining


class SASRecTextSettings(SequenceTraining):
    """SASRec + text: the embedding of an item has a part from its text."""

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
        ),
    ),
    ablations={"without-ids": Ablation({"ids": False})},
    capabilities=frozenset({"sequences", "new_items"}),
    devices=("cpu", "cuda"),
    place=117,
)
