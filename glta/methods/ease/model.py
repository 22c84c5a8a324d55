"""EASE: a linear map from a user's items to all items, solved in closed form."""

# U users, I items, B users of a block
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked, history_matrix, known_users
from glta.methods.base import Job, Scorer, Step
from glta.methods.ease.spec import EASESettings
from glta.methods.shared.about import write_about
from glta.methods.shared.closed_form import refuse_large, zero_diagonal_map
from glta.storage.arrays import load_arrays, save_arrays, sparse_arrays, sparse_from


def item_weights(history_UI: csr_array, l2: float) -> np.ndarray:
    """Solve min_B ||X - X B||^2 + l2 ||B||^2 with a zero diagonal: B = -P / diag(P), P = (X^T X +
    l2 I)^-1 (eq. 8).

    Returns (I, I) float32; column j predicts item j. Solved in float64 by Cholesky, in place: what
    takes most memory is the item-item counts, at most 20 I^2 bytes with their dense copy.
    """
    x = history_UI.astype(np.float64)
    return zero_diagonal_map((x.T @ x).toarray(order="F"), l2)[0]


@dataclass(frozen=True)
class EASE(Scorer):
    """Score by X B (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019;
    EASE^R), exactly.

    history (U, I): training pairs, X. weights (I, I) float32: B.
    """

    history: csr_array
    weights: np.ndarray

    def score(self, users: np.ndarray) -> np.ndarray:
        return self.score_histories(self.history[known_users(users, self.history.shape[0])])

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        return checked(history_BI, len(self.weights)) @ self.weights

    def save(self, folder: Path) -> None:
        save_arrays(
            folder / "model.safetensors",
            sparse_arrays("history", self.history) | {"weights": self.weights},
        )
        count = self.weights.size - len(self.weights)  # the diagonal is 0
        write_about(folder, "ease", trainable_parameters=count)

    @classmethod
    def load(cls, folder: Path) -> Self:
        arrays, _ = load_arrays(folder / "model.safetensors")
        return cls(sparse_from("history", arrays), arrays["weights"])


class SolveEASE(Step):
    """Solve for the item weights."""

    def run(self, job: Job) -> EASE:
        """Raise ValueError when the catalogue is larger than settings.ease.max_items."""
        settings = job.own(EASESettings)
        train = job.prepared.train
        refuse_large("ease", train.num_items, settings.max_items)
        history = history_matrix(train)
        return EASE(history, item_weights(history, settings.l2))
