"""Users and items among the texts of items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked, history_matrix
from glta.data.interactions import Interactions
from glta.methods.base import Job
from glta.methods.shared.dot_product import DotProduct
from glta.storage.arrays import load_arrays


def unit_rows(array: np.ndarray) -> np.ndarray:
    """Scale rows to length 1; rows of zeros stay zeros. (N, W) float32."""
    norm = np.linalg.norm(array, axis=1, keepdims=True)
    return (array / np.where(norm > 0, norm, 1)).astype(np.float32)


class TextVectors(NamedTuple):
    """user (U, W), item (I, W): rows of length 1 or 0.

    length (I,): of items before. mean (W,): what was taken off.
    """

    user: np.ndarray
    item: np.ndarray
    length: np.ndarray
    mean: np.ndarray


def text_vectors(states_IW: np.ndarray, train: Interactions) -> TextVectors:
    """Place users among item texts: a user is the mean of the centred vectors of their training
    items.

    states_IW: one pooled state an item. Centring takes away the direction that all texts share,
    which would make every cosine large; items without training users do not move the centre.
    Returns float32 arrays.
    """
    if states_IW.shape[0] != train.num_items:
        raise ValueError(
            f"{states_IW.shape[0]} text states for {train.num_items} items: run the stage profile "
            "again"
        )
    mean = states_IW[train.item_degree > 0].mean(0, dtype=np.float64).astype(np.float32)
    item, length = centred_rows(states_IW, mean)
    return TextVectors(users_among(history_matrix(train), item, length), item, length, mean)


def centred_rows(states_IW: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre states: rows of length 1 or 0, and what their lengths were."""
    centred = states_IW - mean
    return unit_rows(centred), np.linalg.norm(centred, axis=1).astype(np.float32)


def users_among(history_BI: csr_array, item_IW: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Place people by their items; scaled to length 1, a sum is what a mean is."""
    return unit_rows(history_BI @ (item_IW * length[:, None]))


@dataclass(frozen=True)
class TextScores(DotProduct):
    """Score by the cosine of item and user in text space. Fields: see `TextVectors`."""

    length: np.ndarray
    mean: np.ndarray

    @classmethod
    def of(cls, job: Job) -> Self:
        """Make the scores from the text states of the stage `profile`."""
        _, item_IW = text_states(job)
        return cls(*text_vectors(item_IW, job.prepared.train))

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        return (
            users_among(checked(history_BI, len(self.item)), self.item, self.length) @ self.item.T
        )

    def extended(self, text_JW: np.ndarray) -> Self:
        old, new = (self.item, self.length), centred_rows(text_JW, self.mean)
        item, length = (np.concatenate(sides) for sides in zip(old, new, strict=True))
        return replace(self, item=item, length=length)

    @property
    def trainable_parameters(self) -> int:
        return 0


def text_states(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Read the language model's states of user profiles (U, W) and of item texts (I, W).

    Rows have length 1, or 0 without text. Raises ValueError when they were made for other data.
    """
    path = job.source("profile") / "states.safetensors"
    arrays, _ = load_arrays(path)
    train = job.prepared.train
    found = {name: len(array) for name, array in arrays.items()}
    if found != {"user": train.num_users, "item": train.num_items}:
        raise ValueError(
            f"{path}: made for other users or items than the prepared data; run the stage profile "
            "again"
        )
    return arrays["user"], arrays["item"]
