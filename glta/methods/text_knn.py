"""Text-kNN: items whose text is like the user's items. Nothing is trained."""

# U users, I items, W width of the language model, B users of a block
from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from glta.data.interactions import Interactions
from glta.methods.arrays import load_arrays, unit_rows
from glta.methods.base import Inputs
from glta.methods.dot_product import DotProduct
from glta.methods.histories import history_matrix
from glta.params import Params


def text_vectors(states_IW: np.ndarray, train: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Place users among item texts: a user is the mean of the centred vectors of their training items.

    states_IW: one pooled state an item. Centring takes away the direction that all texts share, which would make
    every cosine large. Returns users (U, W) and items (I, W), float32, rows of length 1, or 0 without a training item.
    """
    if states_IW.shape[0] != train.num_items:
        raise ValueError(f"{states_IW.shape[0]} text states for {train.num_items} items: run the stage profile again")
    centred = (states_IW - states_IW.mean(0, dtype=np.float64)).astype(np.float32)
    sums = history_matrix(train) @ centred  # scaled to length 1, a sum is what a mean is
    return unit_rows(sums), unit_rows(centred)


@dataclass(frozen=True)
class TextKNN(DotProduct):
    """Score by the cosine of item and user in text space. user (U, W), item (I, W): rows of length 1 or 0."""

    name = "text-knn"

    @classmethod
    def fit(cls, inputs: Inputs, params: Params, seed: int) -> Self:
        arrays, _ = load_arrays(inputs.profile / "states.safetensors")
        return cls(*text_vectors(arrays["item"], inputs.prepared.train))

    @property
    def trainable_parameters(self) -> int:
        return 0
