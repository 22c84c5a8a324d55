"""Score by text: vectors of items, and of users by their items."""

# U users, I items, J new items, W language width, B users of a block, N rows
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.features.profiles import Profiles
from glta.methods.base import Job
from glta.methods.shared.dot_product import PlacedUsers


def unit_rows(array: np.ndarray) -> np.ndarray:
    """Scale the rows of (N, W) to length 1, float32. Rows of zeros stay zeros."""
    norm = np.linalg.norm(array, axis=1, keepdims=True)
    return (array / np.where(norm > 0, norm, 1)).astype(np.float32)


def lengths(array: np.ndarray) -> np.ndarray:
    """Return the lengths of the rows of (N, W): (N,) float32."""
    return np.linalg.norm(array, axis=1).astype(np.float32)


class TextVectors(NamedTuple):
    """Hold the vectors of users and items in text space, float32.

    user: (U, W), item: (I, W); each row has length 1, or 0 without text.
    length: (I,), the lengths of the centred item vectors before scaling.
    mean: (W,), the centre that was subtracted.
    whitening: (W, W), see `whitening_map`; None for none.
    """

    user: np.ndarray
    item: np.ndarray
    length: np.ndarray
    mean: np.ndarray
    whitening: np.ndarray | None = None


def text_vectors(
    states_IW: np.ndarray, train: Interactions, singular_power: float = 1.0
) -> TextVectors:
    """Compute item vectors from text states, and user vectors from their training items.

    An item's vector is its centred and whitened state. A user's vector is the mean of the vectors
    of their training items. Centring removes the direction that all texts share, which would make
    every cosine large. Centre and whitening are computed from the items with training users.
    states_IW: one text state an item. Raises ValueError when there are more or fewer.
    singular_power: see `whitening_map`.
    """
    if states_IW.shape[0] != train.num_items:
        raise ValueError(
            f"{states_IW.shape[0]} text states for {train.num_items} items: run the stage profile "
            "again"
        )
    mean = mean_state(states_IW, train)
    whitening = whitening_map(states_IW[train.item_degree > 0] - mean, singular_power)
    item, length = centred_rows(states_IW, mean, whitening)
    user = users_among(history_matrix(train), item, length)
    return TextVectors(user, item, length, mean, whitening)


def mean_state(states_IW: np.ndarray, train: Interactions) -> np.ndarray:
    """Average the text states of the items with training users: (W,) float32."""
    return states_IW[train.item_degree > 0].mean(0, dtype=np.float64).astype(np.float32)


def whitening_map(centred_NW: np.ndarray, singular_power: float) -> np.ndarray | None:
    """Return the map M (W, W) that raises the singular values of centred states C to a power.

    With C = P S Q^T it is M = Q S^(power - 1) Q^T, so that C M = P S^power Q^T. Power 0 whitens:
    all directions in which texts differ count alike. Power 1 changes nothing, and None is returned.
    Directions in which the texts do not differ are mapped to 0.
    """
    if singular_power == 1:
        return None
    squared_W, directions_WW = np.linalg.eigh(centred_NW.T.astype(np.float64) @ centred_NW)
    value_W = np.sqrt(squared_W.clip(0))
    # squares in float32 states are good to about 1e-7, their roots to about 1e-4
    differ = value_W > 1e-4 * value_W.max()
    scale_W = np.where(differ, np.where(differ, value_W, 1) ** (singular_power - 1), 0)
    return ((directions_WW * scale_W) @ directions_WW.T).astype(np.float32)


def centred_rows(
    states_IW: np.ndarray, mean: np.ndarray, whitening: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Subtract the mean, and whiten.

    Returns rows scaled to length 1 (or 0), and their lengths before that.
    """
    moved = states_IW - mean
    if whitening is not None:
        moved = moved @ whitening
    return unit_rows(moved), lengths(moved)


def users_among(history_BI: csr_array, item_IW: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Compute user vectors from the vectors of their items: (B, W), rows of length 1 or 0.

    length: see `TextVectors`.
    """
    # a sum and a mean have the same direction, and the rows are scaled to length 1
    return unit_rows(history_BI @ (item_IW * length[:, None]))


@dataclass(frozen=True)
class TextScores(PlacedUsers):
    """Score by the cosine of a user's and an item's vector in text space.

    user, item, length, mean, whitening: see `TextVectors`.
    """

    length: np.ndarray
    mean: np.ndarray
    whitening: np.ndarray | None = None

    @classmethod
    def of(cls, job: Job, singular_power: float = 1.0) -> Self:
        """Compute the vectors from the text states that the stage `profile` wrote."""
        _, item_IW = text_states(job)
        return cls(*text_vectors(item_IW, job.prepared.train, singular_power))

    @property
    def by_text(self) -> bool:
        return True

    def placed(self, history_BI: csr_array) -> np.ndarray:
        return users_among(history_BI, self.item, self.length)

    def extended(self, text_JW: np.ndarray) -> Self:
        item_JW, length_J = centred_rows(text_JW, self.mean, self.whitening)
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
