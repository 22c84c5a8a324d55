"""What the methods share that the stage `fit` trains on the graph: the loop, its checkpoints and
records, the files.
"""

# U users, I items, N = U + I nodes, W language width
from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from glta.methods.base import Inputs
from glta.methods.shared.dot_product import DotProduct
from glta.params.model import Params
from glta.storage.arrays import load_arrays
from glta.storage.files import read_json, write_json

if TYPE_CHECKING:
    from glta.nn.graph.ranker import Ranker


@dataclass(frozen=True)
class TrainedMethod(DotProduct):
    """Train a ranker with early stopping on validation NDCG@20, then score by its encoded nodes.

    count: trained numbers. best_epoch: the one kept. history: one record an epoch.
    """

    count: int = 0
    best_epoch: int = -1
    history: list[dict] = field(default_factory=list)

    @classmethod
    @abstractmethod
    def ranker(cls, inputs: Inputs, params: Params, seed: int, device: str) -> Ranker:
        """Build the model to train."""

    @classmethod
    def fit(cls, inputs: Inputs, params: Params, seed: int) -> Self:
        # loading and scoring start without torch
        from glta.evaluation.validation import embeddings_ndcg
        from glta.nn.graph.ranker import train_ranker
        from glta.progress import epochs
        from glta.training.devices import find_devices

        model = cls.ranker(inputs, params, seed, str(find_devices().device))
        with epochs(model.params.epochs, cls.name) as on_epoch:
            evaluate = embeddings_ndcg(inputs.prepared)
            section = f"settings.{cls.name}"
            trained = train_ranker(
                model, inputs.prepared.train, seed, evaluate, inputs.checkpoint, on_epoch, section
            )
        count = sum(p.numel() for p in model.parameters())
        return cls(*model.embeddings(), count, trained.best_epoch, trained.history)

    @property
    def trainable_parameters(self) -> int:
        return self.count

    def save(self, folder: Path) -> None:
        super().save(folder)
        about = {
            "method": self.name,
            "trainable_parameters": self.count,
            "best_epoch": self.best_epoch,
        }
        write_json(folder / "model.json", about)
        write_json(folder / "history.json", self.history)

    @classmethod
    def load(cls, folder: Path) -> Self:
        about, arrays = (
            read_json(folder / "model.json"),
            load_arrays(folder / "model.safetensors")[0],
        )
        history = read_json(folder / "history.json")
        return cls(
            arrays["user"],
            arrays["item"],
            about["trainable_parameters"],
            about["best_epoch"],
            history,
        )


def text_states(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Read the language model's states of user profiles (U, W) and item texts (I, W), rows of
    length 1, or 0 without text.

    Raises ValueError when they were made for other data, or by a stage `profile` that wrote no
    users.
    """
    path, train = inputs.profile / "states.safetensors", inputs.prepared.train
    arrays, _ = load_arrays(path)
    if {name: len(a) for name, a in arrays.items()} != {
        "user": train.num_users,
        "item": train.num_items,
    }:
        raise ValueError(
            f"{path}: made for other users or items than the prepared data; run the stage profile "
            "again"
        )
    return arrays["user"], arrays["item"]
