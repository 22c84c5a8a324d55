"""EASE: a linear map from a user's items to scores of all items, solved in closed form."""

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
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.closed_form import refuse_large, zero_diagonal_map
from glta.storage.arrays import load_arrays, save_arrays, sparse_arrays, sparse_from


def item_weights(history_UI: csr_array, l2: float) -> np.ndarray:
    """Solve min_B ||X - X B||^2 + l2 ||B||^2 under a zero diagonal of B: (I, I) float32.

    X is history_UI. The solution is B_ij = -P_ij / P_jj for i != j, with P = (X^T X + l2 I)^-1
    (Steck, WWW 2019, eq. 8). Column j predicts item j. It is solved in float64 by Cholesky, in
    place. It needs at most 20 I^2 bytes, for the item-item counts and their dense copy.
    """
    x = history_UI.astype(np.float64)
    return zero_diagonal_map((x.T @ x).toarray(order="F"), l2)[0]


@dataclass(frozen=True)
class EASE(Scorer):
    """Score by X B.

    The method is EASE^R (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019).
    history: X (U, I), 1 for training pairs. weights: B (I, I) float32, see `item_weights`.
    """

    history: csr_array
    weights: np.ndarray

    def score(self, users: np.ndarray) -> np.ndarray:
        return self.score_histories(self.history[known_users(users, self.history.shape[0])])

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        return checked(history_BI, len(self.weights)) @ self.weights

    def save(self, folder: Path) -> None:
        arrays = sparse_arrays("history", self.history) | {"weights": self.weights}
        save_arrays(folder / "model.safetensors", arrays)
        count = self.weights.size - len(self.weights)  # the diagonal is 0
        write_about(folder, "ease", trainable_parameters=count)

    @classmethod
    def load(cls, folder: Path) -> Self:
        read_about(folder, "ease")
        arrays, _ = load_arrays(folder / "model.safetensors")
        return cls(sparse_from("history", arrays), arrays["weights"])


class SolveEASE(Step):
    """Solve for the item weights.

    `run` raises ValueError when the catalogue has more than settings.ease.max_items items.
    """

    def run(self, job: Job) -> EASE:
        settings = job.own(EASESettings)
        train = job.prepared.train
        refuse_large("ease", train.num_items, settings.max_items)
        history = history_matrix(train)
        return EASE(history, item_weights(history, settings.l2))
