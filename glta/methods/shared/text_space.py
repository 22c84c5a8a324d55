"""Score by text: vectors of items, and of users by their items."""

# U users, I items, J new items, W language width, B users of a block, N rows
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked, history_matrix
from glta.data.interactions import Interactions
from glta.features.profiles import Profiles
from glta.methods.base import Job
from glta.methods.shared.dot_product import DotProduct


def unit_rows(array: np.ndarray) -> np.ndarray:
    """Scale the rows of (N, W) to length 1, float32. Rows of zeros stay zeros."""
    norm = np.linalg.norm(array, axis=1, keepdims=True)
    return (array / np.where(norm > 0, norm, 1)).astype(np.float32)


class TextVectors(NamedTuple):
    """Hold the vectors of users and items in text space, float32.

    user: (U, W), item: (I, W); each row has length 1, or 0 without text.
    length: (I,), the lengths of the centred item vectors before scaling.
    mean: (W,), the centre that was subtracted.
    """

    user: np.ndarray
    item: np.ndarray
    length: np.ndarray
    mean: np.ndarray


def text_vectors(states_IW: np.ndarray, train: Interactions) -> TextVectors:
    """Compute item vectors from text states, and user vectors from their training items.

    An item's vector is its centred state. A user's vector is the mean of the centred states of
    their training items. Centring removes the direction that all texts share, which would make
    every cosine large. The centre is the mean over the items with training users.
    states_IW: one text state an item. Raises ValueError when there are more or fewer.
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
    """Subtract the mean. Returns rows scaled to length 1 (or 0), and their lengths before."""
    centred = states_IW - mean
    return unit_rows(centred), np.linalg.norm(centred, axis=1).astype(np.float32)


def users_among(history_BI: csr_array, item_IW: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Compute user vectors from the vectors of their items: (B, W), rows of length 1 or 0.

    length: see `TextVectors`.
    """
    # a sum and a mean have the same direction, and the rows are scaled to length 1
    return unit_rows(history_BI @ (item_IW * length[:, None]))


@dataclass(frozen=True)
class TextScores(DotProduct):
    """Score by the cosine of a user's and an item's vector in text space.

    user, item, length, mean: see `TextVectors`.
    """

    length: np.ndarray
    mean: np.ndarray

    @classmethod
    def of(cls, job: Job) -> Self:
        """Compute the vectors from the text states that the stage `profile` wrote."""
        _, item_IW = text_states(job)
        return cls(*text_vectors(item_IW, job.prepared.train))

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        history_BI = checked(history_BI, len(self.item))
        return users_among(history_BI, self.item, self.length) @ self.item.T

    def extended(self, text_JW: np.ndarray) -> Self:
        item_JW, length_J = centred_rows(text_JW, self.mean)
        return replace(
            self,
            item=np.concatenate([self.item, item_JW]),
            length=np.concatenate([self.length, length_J]),
        )

    @property
    def trainable_parameters(self) -> int:
        return 0


def text_states(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Read the text states of user profiles (U, W) and of item texts (I, W) of stage `profile`.

    Rows have length 1, or 0 without text. Raises ValueError when the numbers of users or items are
    not those of the prepared data.
    """
    profiles = Profiles.load(job.source("profile"), job.prepared.train)
    return profiles.user_states, profiles.item_states
