"""Score by the state of a user after their newest item: SASRec, with texts or without."""

# U users, I items, J new items, D embedding width, F features, W language width
from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from glta.data.sequences import Sequences
from glta.methods.base import Job
from glta.methods.shared.dot_product import DotProduct
from glta.nn.sequence.settings import SequenceTraining
from glta.storage.arrays import joined, part_of
from glta.storage.files import read_json, write_json

if TYPE_CHECKING:
    from glta.nn.sequence.self_attention import SelfAttention


@dataclass(frozen=True)
class SequenceModel(DotProduct):
    """Score by the state of a user after their newest item, and the items' embeddings.

    user: (U, D) float32, the states. item: (I, D) float32.
    weights: of the network, by their names in `SelfAttention`, without those of the items.
    settings: with which it was trained. best_epoch: with the best validation NDCG@20, whose weights
    these are. history: one record an epoch.
    text: (I, D), the embeddings that the items would have without users. text_map: (W, D), maps
    centred text vectors to these. text_base: (D,), is added. None for a network without texts.
    text_mean: (W,), the centre of the language model's states; None when the vectors are not of a
    language model. ids: whether items have a part of their own beside that of their text.
    """

    reads_order = True
    weights: dict[str, np.ndarray]
    settings: SequenceTraining
    best_epoch: int
    history: list[dict[str, Any]] = field(default_factory=list)
    text: np.ndarray | None = None
    text_map: np.ndarray | None = None
    text_base: np.ndarray | None = None
    text_mean: np.ndarray | None = None
    ids: bool = True

    def with_histories(self, histories: Sequences) -> Self:
        from glta.nn.sequence.next_item import encode_users

        if histories.num_items != len(self.item):
            raise ValueError(
                f"histories over {histories.num_items} items: this model has {len(self.item)} "
                "items; give histories over the items of the dataset that it was trained on"
            )
        return replace(self, user=encode_users(self.network(), histories))

    def network(self) -> SelfAttention:
        """Build the network with these weights. It reads `item` itself, and copies the others."""
        import torch

        from glta.nn.sequence.self_attention import SelfAttention

        # on this device no random weights are drawn, which these would only replace
        with torch.device("meta"):
            network = SelfAttention(len(self.item), self.settings, seed=0)
        tensors = {name: torch.from_numpy(array).clone() for name, array in self.weights.items()}
        tensors["item"] = torch.from_numpy(self.item)
        network.load_state_dict(tensors, assign=True)
        return network

    def from_text(self, text_JW: np.ndarray) -> np.ndarray:
        """Return the embeddings of items without users from their text states, (J, D).

        Raises ValueError for a network that was trained without them.
        """
        if self.text_map is None or self.text_base is None or self.text_mean is None:
            raise ValueError(
                f"{type(self).__name__} needs interactions to score an item: it cannot take new "
                "items"
            )
        return (text_JW - self.text_mean) @ self.text_map + self.text_base

    def extended(self, text_JW: np.ndarray) -> Self:
        return self.widened(self.from_text(text_JW))

    def with_unknown(self, num: int) -> Self:
        return self.widened(np.zeros((num, self.item.shape[1]), np.float32))

    @property
    def by_text(self) -> bool:
        return self.text is not None

    def as_new(self, items_N: np.ndarray) -> Self:
        if self.text is None:
            return self
        item = self.item.copy()
        item[items_N] = self.text[items_N]
        return replace(self, item=item)

    def widened(self, item_JD: np.ndarray) -> Self:
        """Return the model with J new items at the end, and their embeddings."""
        text = None if self.text is None else np.concatenate([self.text, item_JD])
        return replace(self, item=np.concatenate([self.item, item_JD]), text=text)

    @property
    def trainable_parameters(self) -> int:
        ids = self.item.size if self.ids else 0
        text = 0 if self.text_map is None else self.text_map.size
        return ids + text + sum(array.size for array in self.weights.values())

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return super().arrays | joined({"network": self.weights})

    @property
    def about(self) -> dict[str, Any]:
        shared = self.settings.model_dump(include=set(SequenceTraining.model_fields))
        return {"settings": shared, "best_epoch": self.best_epoch, "ids": self.ids}

    @classmethod
    def rebuilt(cls, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Self:
        own: dict[str, Any] = {
            name: array for name, array in arrays.items() if not name.startswith("network.")
        }
        return cls(
            **own,
            weights=part_of(arrays, "network"),
            settings=SequenceTraining(**about["settings"]),
            best_epoch=about["best_epoch"],
            ids=about["ids"],
        )

    def save(self, folder: Path) -> None:
        super().save(folder)
        write_json(folder / "history.json", self.history)

    @classmethod
    def load(cls, folder: Path) -> Self:
        return replace(super().load(folder), history=read_json(folder / "history.json"))


def train_sequence_model(
    job: Job,
    name: str,
    settings: SequenceTraining,
    *,
    features_IF: np.ndarray | None = None,
    ids: bool = True,
) -> dict[str, Any]:
    """Train the network, with early stopping on validation NDCG@20.

    name: of the method. features_IF: see `SelfAttention`. ids: False keeps the items' own rows at
    0, so that their embeddings come from the features alone. Returns the fields of `SequenceModel`
    but `item`, which is among `weights` still. Raises ValueError for data without times, and when
    no user has two training items.
    """
    # imported here, so that loading and scoring do without torch
    import torch

    from glta.evaluation.validation import embeddings_ndcg
    from glta.nn.sequence.next_item import NextItemTask, encode_users
    from glta.nn.sequence.self_attention import SelfAttention
    from glta.training.devices import find_devices
    from glta.training.trainer import train

    histories = job.prepared.timed(name)
    features = None if features_IF is None else torch.from_numpy(features_IF)
    network = SelfAttention(histories.num_items, settings, job.seed, features)
    if not ids:
        torch.nn.init.zeros_(network.item).requires_grad_(False)
    network.to(find_devices().device)
    task = NextItemTask(
        network,
        histories,
        settings,
        job.seed,
        section=f"settings.{name}",
        evaluate=embeddings_ndcg(job.prepared),
    )
    trained = train(
        task,
        epochs=settings.epochs,
        patience=settings.patience,
        checkpoint=job.checkpoint,
        on_epoch=job.on_epoch,
    )
    weights = {key: t.detach().cpu().numpy() for key, t in network.state_dict().items()}
    return {
        "user": encode_users(network, histories),
        "weights": weights,
        "settings": settings,
        "best_epoch": trained.best_epoch,
        "history": trained.history,
        "ids": ids,
    }
