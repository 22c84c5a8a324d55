"""SASRec: self-attention over the user's items predicts the next one."""

# U users, I items, D embedding width
from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from glta.data.sequences import Sequences
from glta.methods.base import Job, Step
from glta.methods.sasrec.spec import SASRecSettings
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.dot_product import DotProduct
from glta.storage.arrays import joined, load_arrays, part_of, save_arrays
from glta.storage.files import read_json, write_json

if TYPE_CHECKING:
    from glta.nn.sequence.self_attention import SelfAttention


@dataclass(frozen=True)
class SASRec(DotProduct):
    """Score by the state of a user after their newest item, and the items' embeddings.

    user: (U, D) float32, the states. item: (I, D) float32.
    weights: of the network, by their names in `SelfAttention`, without those of `item`.
    settings: with which it was trained. best_epoch: with the best validation NDCG@20, whose weights
    these are. history: one record an epoch.
    """

    name = "sasrec"
    weights: dict[str, np.ndarray]
    settings: SASRecSettings
    best_epoch: int
    history: list[dict[str, Any]] = field(default_factory=list)

    def with_histories(self, histories: Sequences) -> Self:
        from glta.nn.sequence.next_item import encode_users

        if histories.num_items != len(self.item):
            raise ValueError(
                f"histories over {histories.num_items} items: this model has {len(self.item)} "
                "items; give histories over the items of the dataset that it was trained on"
            )
        return replace(self, user=encode_users(self.network(), histories))

    def network(self) -> SelfAttention:
        """Build the network with these weights."""
        import torch

        from glta.nn.sequence.self_attention import SelfAttention

        network = SelfAttention(len(self.item), self.settings, seed=0)
        arrays = {**self.weights, "item": self.item}
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return network

    @property
    def trainable_parameters(self) -> int:
        return self.item.size + sum(array.size for array in self.weights.values())

    def save(self, folder: Path) -> None:
        arrays = {"user": self.user, "item": self.item} | joined({"network": self.weights})
        meta = {"settings": self.settings.model_dump()}
        save_arrays(folder / "model.safetensors", arrays, meta)
        count = self.trainable_parameters
        write_about(folder, self.name, trainable_parameters=count, best_epoch=self.best_epoch)
        write_json(folder / "history.json", self.history)

    @classmethod
    def load(cls, folder: Path) -> Self:
        about = read_about(folder, cls.name)
        arrays, meta = load_arrays(folder / "model.safetensors")
        return cls(
            arrays["user"],
            arrays["item"],
            part_of(arrays, "network"),
            SASRecSettings(**meta["settings"]),
            about["best_epoch"],
            read_json(folder / "history.json"),
        )


class TrainSASRec(Step):
    """Train the network, with early stopping on validation NDCG@20.

    `run` raises ValueError for data without times, and when no user has two training items.
    """

    def run(self, job: Job) -> SASRec:
        # imported here, so that loading and scoring do without torch
        from glta.evaluation.validation import embeddings_ndcg
        from glta.nn.sequence.next_item import NextItemTask, encode_users
        from glta.nn.sequence.self_attention import SelfAttention
        from glta.training.devices import find_devices
        from glta.training.trainer import train

        settings = job.own(SASRecSettings)
        histories = job.prepared.timed("sasrec")
        network = SelfAttention(histories.num_items, settings, job.seed)
        network.to(find_devices().device)
        task = NextItemTask(
            network,
            histories,
            settings,
            job.seed,
            section="settings.sasrec",
            evaluate=embeddings_ndcg(job.prepared),
        )
        trained = train(
            task,
            epochs=settings.epochs,
            patience=settings.patience,
            checkpoint=job.checkpoint,
            on_epoch=job.on_epoch,
        )
        weights = {name: t.detach().cpu().numpy() for name, t in network.state_dict().items()}
        item = weights.pop("item")
        user = encode_users(network, histories)
        return SASRec(user, item, weights, settings, trained.best_epoch, trained.history)
