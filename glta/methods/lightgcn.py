"""LightGCN: the embeddings of the stage `pretrain`, propagated over all training edges."""

# U users, I items, D embedding width, B users of a block
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from glta.files import write_json
from glta.methods.arrays import known_users, load_arrays, save_arrays
from glta.methods.base import Inputs, Method
from glta.params import Params


@dataclass(frozen=True)
class LightGCNMethod(Method):
    """Score by the dot product of propagated embeddings. user (U, D), item (I, D): float32."""

    user: np.ndarray
    item: np.ndarray

    @classmethod
    def fit(cls, inputs: Inputs, params: Params, seed: int) -> Self:
        from glta.graph.lightgcn import LightGCN  # torch, needed here alone: loading and scoring start without it

        path, train = inputs.pretrained / "model.safetensors", inputs.prepared.train
        arrays, meta = load_arrays(path)
        if (len(arrays["user"]), len(arrays["item"])) != (train.num_users, train.num_items):
            raise ValueError(f"{path}: made for other users or items than the prepared data; run the stage pretrain again")
        return cls(*LightGCN(arrays["user"], arrays["item"], meta["num_layers"]).propagated(train))

    def score(self, users: np.ndarray) -> np.ndarray:
        return self.user[known_users(users, len(self.user))] @ self.item.T

    @property
    def trainable_parameters(self) -> int:
        return self.user.size + self.item.size

    def save(self, folder: Path) -> None:
        save_arrays(folder / "model.safetensors", {"user": self.user, "item": self.item})
        write_json(folder / "model.json", {"method": "lightgcn", "trainable_parameters": self.trainable_parameters})

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(**load_arrays(folder / "model.safetensors")[0])
