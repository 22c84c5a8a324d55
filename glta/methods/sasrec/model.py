"""SASRec: self-attention over the user's items predicts the next one."""

from __future__ import annotations

from dataclasses import dataclass

from glta.methods.base import Job, Step
from glta.methods.sasrec.spec import SASRecSettings
from glta.methods.shared.sequence_model import SequenceModel, train_sequence_model


@dataclass(frozen=True)
class SASRec(SequenceModel):
    """Score by the state of a user after their newest item, and the items' embeddings."""

    name = "sasrec"


class TrainSASRec(Step):
    """Train the network, with early stopping on validation NDCG@20.

    `run` raises ValueError for data without times, and when no user has two training items.
    """

    def run(self, job: Job) -> SASRec:
        found = train_sequence_model(job, "sasrec", job.own(SASRecSettings))
        return SASRec(item=found["weights"].pop("item"), **found)
