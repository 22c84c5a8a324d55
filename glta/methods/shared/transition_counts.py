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
from glta.methods.shared.component import Component
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
class TransitionScores(Component):
    """Score item j for a user by the transitions to it from the user's items.

    score(j) = sum_i decay^age(i) (log(1 + count(i, j)) + weight cos(text(i), text(j)))
        + popularity log(1 + users(j))
    The sum is over the user's items. The newest one has age 0. With decay 0 it counts alone.

    recent: (U, I) decay^age of each user's items, see `recent_matrix`.
    follows: (I, I) log(1 + count), see `transition_counts`.
    common: (I,) float32, the last term.
    text: (I, W) sparse or dense float32, the texts' vectors of length 1 or 0; None for no texts.
    """

    reads_order = True
    recent: csr_array
    follows: csr_array
    common: np.ndarray
    decay: float
    text: csr_array | np.ndarray | None = None
    weight: float = 0.0

    @classmethod
    def of(cls, train: Sequences, settings: TransitionSettings, **text: Any) -> Self:
        """Count the transitions of the training items. text: the fields text and weight."""
        users_I = np.bincount(train.item, minlength=train.num_items)
        return cls(
            recent=recent_matrix(train, settings.decay),
            follows=transition_counts(train, settings.max_gap).log1p(),
            common=(settings.popularity * np.log1p(users_I)).astype(np.float32),
            decay=settings.decay,
            **text,
        )

    def score(self, users: np.ndarray) -> np.ndarray:
        recent_BI = self.recent[known_users(users, self.recent.shape[0])]
        counted_BI = (recent_BI @ self.follows).toarray() + self.common
        if self.text is None:
            return counted_BI
        of_user_BW = recent_BI @ self.text
        if isinstance(self.text, np.ndarray):
            from glta.evaluation.ranking import dot_products

            similar_BI = dot_products(of_user_BW, self.text)
        else:
            similar_BI = (of_user_BW @ self.text.T).toarray()
        return counted_BI + np.float32(self.weight) * similar_BI

    def with_histories(self, histories: Sequences) -> Self:
        recent = checked(recent_matrix(histories, self.decay), self.common.size)
        return replace(self, recent=recent)

    def with_unknown(self, num: int) -> Self:
        users, size = self.recent.shape
        recent, follows = self.recent.copy(), self.follows.copy()
        recent.resize((users, size + num))
        follows.resize((size + num, size + num))
        text = self.text
        if isinstance(text, np.ndarray):
            text = np.pad(text, [(0, num), (0, 0)])
        elif text is not None:
            text = text.copy()
            text.resize((size + num, text.shape[1]))
        common = np.pad(self.common, (0, num))
        return replace(self, recent=recent, follows=follows, common=common, text=text)

    @property
    def trainable_parameters(self) -> int:
        return 0

    @property
    def about(self) -> dict[str, Any]:
        return {"decay": self.decay, "weight": self.weight}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        arrays = sparse_arrays("recent", self.recent) | sparse_arrays("follows", self.follows)
        arrays["common"] = self.common
        if isinstance(self.text, np.ndarray):
            arrays["text"] = self.text
        elif self.text is not None:
            arrays |= sparse_arrays("text", self.text)
        return arrays

    @classmethod
    def rebuilt(cls, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Self:
        text: csr_array | np.ndarray | None = arrays.get("text")
        if text is None and any(name.startswith("text.") for name in arrays):
            text = sparse_from("text", arrays)
        return cls(
            recent=sparse_from("recent", arrays),
            follows=sparse_from("follows", arrays),
            common=arrays["common"],
            decay=about["decay"],
            text=text,
            weight=about["weight"],
        )
