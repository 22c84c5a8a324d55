"""SASRec: self-attention over the user's items predicts the next one."""

from glta.methods.spec import MethodSpec, StepSpec
from glta.nn.sequence.settings import SequenceTraining


class SASRecSettings(SequenceTraining):
    """SASRec: self-attention over the user's items in order."""


SPEC = MethodSpec(
    name="sasrec",
    title="SASRec",
    paper="Kang and McAuley, ICDM 2018, arXiv 1808.09781",
    settings=SASRecSettings,
    recommender="glta.methods.sasrec.model:SASRec",
    steps=(StepSpec("sasrec", "glta.methods.sasrec.model:TrainSASRec", shares=True),),
    capabilities=frozenset({"sequences"}),
    devices=("cpu", "cuda"),
    place=116,
)
