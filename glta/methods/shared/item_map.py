"""Score by a linear map between items."""

# U users, I items, B users of a block
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.sparse import block_array, csr_array

from glta.data.histories import checked, history_matrix, known_users, recent_matrix
from glta.data.prepared import Prepared
from glta.data.sequences import Sequences
from glta.methods.shared.component import Component
from glta.storage.arrays import sparse_arrays, sparse_from


def weighed_histories(method: str, prepared: Prepared, recency: float) -> csr_array:
    """Return the training items of every user, (U, I) float32, each with weight recency^age.

    The newest item has age 0. With recency 1 the data need no order. Raises ValueError when the
    order is needed and an interaction has no time. method: its name, for the message.
    """
    if recency == 1:
        return history_matrix(prepared.train)
    return recent_matrix(prepared.timed(method), recency)


@dataclass(frozen=True)
class ItemMap(Component):
    """Score by X B, a user's items times a linear map between items.

    history: X (U, I) float32, recency^age for the items of a user, 0 for others. weights: B (I, I)
    float32, dense or sparse; column j scores item j. recency: see `weighed_histories`.
    """

    history: csr_array
    weights: np.ndarray | csr_array
    recency: float

    def score(self, users: np.ndarray) -> np.ndarray:
        return self._mapped(self.history[known_users(users, self.history.shape[0])])

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        return self._mapped(checked(history_BI, self.weights.shape[0]))

    def score_newcomers(self, histories: Sequences) -> np.ndarray:
        return self.score_histories(recent_matrix(histories, self.recency))

    def _mapped(self, history_BI: csr_array) -> np.ndarray:
        scores = history_BI @ self.weights
        return scores if isinstance(scores, np.ndarray) else scores.toarray()

    def widened(self, columns_IJ: np.ndarray) -> Self:
        """Return the map with J new items at the end, and their columns of B. Nobody has them."""
        num = columns_IJ.shape[1]
        history = self.history.copy()
        history.resize((history.shape[0], history.shape[1] + num))
        if isinstance(self.weights, np.ndarray):
            columns = np.concatenate([self.weights, columns_IJ], axis=1)
            return replace(self, history=history, weights=np.pad(columns, [(0, num), (0, 0)]))
        weights = block_array([[self.weights, columns_IJ], [None, np.zeros((num, num))]])
        return replace(self, history=history, weights=weights.tocsr().astype(np.float32))

    def with_unknown(self, num: int) -> Self:
        return self.widened(np.zeros((self.weights.shape[0], num), np.float32))

    def with_histories(self, histories: Sequences) -> Self:
        return replace(self, history=recent_matrix(histories, self.recency))

    @property
    def trainable_parameters(self) -> int:
        if isinstance(self.weights, np.ndarray):  # whose diagonal is 0
            return self.weights.size - len(self.weights)
        return self.weights.nnz

    @property
    def about(self) -> dict[str, Any]:
        return {"recency": self.recency}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        arrays = sparse_arrays("history", self.history)
        if isinstance(self.weights, np.ndarray):
            return arrays | {"weights": self.weights}
        return arrays | sparse_arrays("weights", self.weights)

    @classmethod
    def rebuilt(cls, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Self:
        return cls(**cls._fields(arrays, about))

    @classmethod
    def _fields(cls, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> dict[str, Any]:
        dense = arrays.get("weights")
        return {
            "history": sparse_from("history", arrays),
            "weights": sparse_from("weights", arrays) if dense is None else dense,
            "recency": about["recency"],
        }
