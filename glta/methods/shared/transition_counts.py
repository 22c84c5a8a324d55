"""Count which item follows which in the histories, and score by these counts."""

# U users, I items, B users of a block, E interactions
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked, known_users, recent_matrix
from glta.data.sequences import Sequences
from glta.methods.base import Scorer
from glta.methods.shared.settings import TransitionSettings
from glta.storage.arrays import sparse_arrays, sparse_from


def transition_counts(histories: Sequences, max_gap: int) -> csr_array:
    """Count transitions: a sparse (I, I) float32 matrix.

    Entry (i, j) is the sum of 1 / g over all users who have j as the g-th item after i, for
    1 <= g <= max_gap. With max_gap 1 it is the number of users who have j right after i.
    """
    size = histories.num_items
    counts = csr_array((size, size), dtype=np.float32)
    for gap in range(1, max_gap + 1):
        same = histories.user[:-gap] == histories.user[gap:]
        before = histories.item[:-gap][same]
        after = histories.item[gap:][same]
        weight = np.full(before.size, 1 / gap, np.float32)
        counts += csr_array((weight, (before, after)), shape=counts.shape)
    return counts


@dataclass(frozen=True)
class TransitionScores(Scorer):
    """Score item j for a user by the transitions to it from the user's items.

    score(j) = sum_i decay^age(i) log(1 + count(i, j)) + popularity log(1 + users(j))
    The sum is over the user's items. The newest one has age 0. With decay 0 it counts alone.

    recent: (U, I) decay^age of each user's items, see `recent_matrix`.
    follows: (I, I) log(1 + count), see `transition_counts`.
    common: (I,) float32, the second term.
    """

    recent: csr_array
    follows: csr_array
    common: np.ndarray
    decay: float

    @classmethod
    def of(cls, train: Sequences, settings: TransitionSettings, **more: Any) -> Self:
        """Count the transitions of the training items. more: further fields of a subclass."""
        users_I = np.bincount(train.item, minlength=train.num_items)
        return cls(
            recent=recent_matrix(train, settings.decay),
            follows=transition_counts(train, settings.max_gap).log1p(),
            common=(settings.popularity * np.log1p(users_I)).astype(np.float32),
            decay=settings.decay,
            **more,
        )

    def score(self, users: np.ndarray) -> np.ndarray:
        recent_BI = self.recent[known_users(users, self.recent.shape[0])]
        return (recent_BI @ self.follows).toarray() + self.common

    def with_histories(self, histories: Sequences) -> Self:
        recent = checked(recent_matrix(histories, self.decay), self.common.size)
        return replace(self, recent=recent)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to save."""
        matrices = sparse_arrays("recent", self.recent) | sparse_arrays("follows", self.follows)
        return matrices | {"common": self.common}

    def meta(self) -> dict[str, Any]:
        """Return the other values to save."""
        return {"decay": self.decay}

    @staticmethod
    def parts(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return the fields that `arrays` has written."""
        matrices = {name: sparse_from(name, arrays) for name in ("recent", "follows")}
        return matrices | {"common": arrays["common"]}
