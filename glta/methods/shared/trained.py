"""The training step and the recommender of methods that train a graph model."""

# U users, I items, D embedding width
from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from glta.methods.base import Job, Step
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.dot_product import DotProduct
from glta.storage.arrays import load_arrays
from glta.storage.files import read_json, write_json

if TYPE_CHECKING:
    from glta.nn.graph.ranker import NodeRanker
    from glta.training.trainer import Trained


@dataclass(frozen=True)
class TrainedEmbeddings(DotProduct):
    """Score by the node embeddings of a trained graph model.

    count: how many numbers were trained. best_epoch: the epoch with the best validation NDCG@20,
    whose embeddings these are. history: one record an epoch.
    """

    count: int = 0
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def trainable_parameters(self) -> int:
        return self.count

    def save(self, folder: Path) -> None:
        super().save(folder)
        write_about(folder, self.name, trainable_parameters=self.count, best_epoch=self.best_epoch)
        write_json(folder / "history.json", self.history)

    @classmethod
    def load(cls, folder: Path) -> Self:
        about = read_about(folder, cls.name)
        arrays, _ = load_arrays(folder / "model.safetensors")
        return cls(
            **cls.values_from(arrays),
            count=about["trainable_parameters"],
            best_epoch=about["best_epoch"],
            history=read_json(folder / "history.json"),
        )

    @classmethod
    def values_from(cls, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return values of the dataclass from the arrays in the file."""
        return arrays


class TrainRanker(Step):
    """Train a graph model with early stopping on validation NDCG@20.

    result: the class of the recommender that `run` returns.
    """

    result: ClassVar[type[TrainedEmbeddings]]

    @abstractmethod
    def ranker(self, job: Job, device: str) -> NodeRanker:
        """Build the model, on the device. Its weights have their initial values."""

    def run(self, job: Job) -> TrainedEmbeddings:
        model, trained = self.fitted(job)
        user, item = model.embeddings()
        count = sum(parameter.numel() for parameter in model.parameters())
        return self.result(user, item, count, trained.best_epoch, trained.history)

    def fitted(self, job: Job) -> tuple[NodeRanker, Trained]:
        """Train the model."""
        # imported here, so that loading and scoring do without torch
        from glta.evaluation.validation import embeddings_ndcg
        from glta.nn.graph.ranker import train_ranker
        from glta.training.devices import find_devices

        model = self.ranker(job, str(find_devices().device))
        trained = train_ranker(
            model,
            job.prepared.train,
            job.seed,
            evaluate=embeddings_ndcg(job.prepared, most_users=model.params.validation_users),
            checkpoint=job.checkpoint,
            on_epoch=job.on_epoch,
            section=f"settings.{self.result.name}",
        )
        return model, trained
