"""Score by a linear map between items."""

# U users, I items, B users of a block
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import block_array, csr_array

from glta.data.histories import checked, history_matrix, known_users, recent_matrix
from glta.data.prepared import Prepared
from glta.data.sequences import Sequences
from glta.methods.base import Scorer
from glta.methods.shared.about import read_about, write_about
from glta.storage.arrays import load_arrays, save_arrays, sparse_arrays, sparse_from


def weighed_histories(method: str, prepared: Prepared, recency: float) -> csr_array:
    """Return the training items of every user, (U, I) float32, each with weight recency^age.

    The newest item has age 0. With recency 1 the data need no order. Raises ValueError when the
    order is needed and an interaction has no time. method: its name, for the message.
    """
    if recency == 1:
        return history_matrix(prepared.train)
    return recent_matrix(prepared.timed(method), recency)


@dataclass(frozen=True)
class ItemMap(Scorer):
    """Score by X B, a user's items times a linear map between items.

    name: of the method. history: X (U, I) float32, recency^age for the items of a user, 0 for
    others. weights: B (I, I) float32, dense or sparse; column j scores item j. recency: see
    `weighed_histories`.
    """

    name: ClassVar[str]
    history: csr_array
    weights: np.ndarray | csr_array
    recency: float

    def score(self, users: np.ndarray) -> np.ndarray:
        return self._mapped(self.history[known_users(users, self.history.shape[0])])

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        return self._mapped(checked(history_BI, self.weights.shape[0]))

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

    def with_histories(self, histories: Sequences) -> Self:
        return replace(self, history=recent_matrix(histories, self.recency))

    @property
    def trainable_parameters(self) -> int:
        """How many numbers were fitted. The diagonal of a dense map is 0."""
        if isinstance(self.weights, np.ndarray):
            return self.weights.size - len(self.weights)
        return self.weights.nnz

    @property
    def about(self) -> dict[str, Any]:
        """What model.json holds beside the arrays."""
        return {"recency": self.recency}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, to be saved."""
        arrays = sparse_arrays("history", self.history)
        if isinstance(self.weights, np.ndarray):
            return arrays | {"weights": self.weights}
        return arrays | sparse_arrays("weights", self.weights)

    @classmethod
    def rebuilt(cls, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Self:
        """Make the map from what `arrays` and `about` returned."""
        return cls(**cls._fields(arrays, about))

    @classmethod
    def _fields(cls, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> dict[str, Any]:
        dense = arrays.get("weights")
        return {
            "history": sparse_from("history", arrays),
            "weights": sparse_from("weights", arrays) if dense is None else dense,
            "recency": about["recency"],
        }

    def save(self, folder: Path) -> None:
        save_arrays(folder / "model.safetensors", self.arrays)
        count = self.trainable_parameters
        write_about(folder, self.name, trainable_parameters=count, **self.about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        about = read_about(folder, cls.name)
        arrays, _ = load_arrays(folder / "model.safetensors")
        return cls.rebuilt(arrays, about)
