"""Text-kNN: items whose text is like the user's items. Nothing is trained."""

# U users, I items, W width of the language model, B users of a block
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.interactions import Interactions
from glta.files import write_json
from glta.methods.arrays import known_users, load_arrays, save_arrays, unit_rows
from glta.methods.base import Inputs, Method
from glta.params import Params


def text_vectors(states_IW: np.ndarray, train: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Place users among item texts: a user is the mean of the centred vectors of their training items.

    states_IW: one pooled state an item. Centring takes away the direction that all texts share, which would make
    every cosine large. Returns users (U, W) and items (I, W), float32, rows of length 1, or 0 without a training item.
    """
    if states_IW.shape[0] != train.num_items:
        raise ValueError(f"{states_IW.shape[0]} text states for {train.num_items} items: run the stage profile again")
    centred = (states_IW - states_IW.mean(0, dtype=np.float64)).astype(np.float32)
    ones = np.ones(len(train), np.float32)
    liked = csr_array((ones, train.item, train.indptr), shape=(train.num_users, train.num_items))
    return unit_rows(liked @ centred), unit_rows(centred)  # the length of a sum is that of a mean, once scaled to 1


@dataclass(frozen=True)
class TextKNN(Method):
    """Score by the cosine of item and user in text space. user (U, W), item (I, W): rows of length 1 or 0."""

    user: np.ndarray
    item: np.ndarray

    @classmethod
    def fit(cls, inputs: Inputs, params: Params, seed: int) -> Self:
        arrays, _ = load_arrays(inputs.profile / "states.safetensors")
        return cls(*text_vectors(arrays["item"], inputs.prepared.train))

    def score(self, users: np.ndarray) -> np.ndarray:
        return self.user[known_users(users, len(self.user))] @ self.item.T

    def save(self, folder: Path) -> None:
        save_arrays(folder / "model.safetensors", {"user": self.user, "item": self.item})
        write_json(folder / "model.json", {"method": "text-knn", "trainable_parameters": 0})

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(**load_arrays(folder / "model.safetensors")[0])
