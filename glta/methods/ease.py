"""EASE: a linear map from a user's items to all items, solved in closed form."""

# U users, I items, B users of a block
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import csr_array

from glta.files import write_json
from glta.methods.arrays import known_users, load_arrays, save_arrays
from glta.methods.base import Inputs, Method
from glta.methods.histories import checked, history_matrix, sparse_arrays, sparse_from
from glta.params import Params


def item_weights(history_UI: csr_array, l2: float) -> np.ndarray:
    """Solve min_B ||X - X B||^2 + l2 ||B||^2 with a zero diagonal: B = -P / diag(P), P = (X^T X + l2 I)^-1 (eq. 8).

    Returns (I, I) float32; column j predicts item j. Solved in float64 by Cholesky, in place: what takes most memory is
    the item-item counts, at most 20 I^2 bytes with their dense copy.
    """
    x = history_UI.astype(np.float64)
    return zero_diagonal_map((x.T @ x).toarray(order="F"), l2)[0]


def zero_diagonal_map(gram: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Solve for B from a Gram matrix (I, I) float64 in Fortran order, which is overwritten; as `item_weights`.

    Returns B and the diagonal of P, (I,) float32, from which P can be told again: P = (1 - B) diag(P).
    """
    gram[np.diag_indices_from(gram)] += l2
    factor, failed = dpotrf(gram, overwrite_a=True)
    assert not failed  # positive definite, as l2 > 0
    inverse, _ = dpotri(factor, overwrite_c=True)
    weights = np.triu(inverse.astype(np.float32))  # LAPACK writes one half of a symmetric matrix
    weights += np.triu(weights, 1).T
    diagonal = np.diag(inverse).astype(np.float32)
    weights /= -diagonal
    np.fill_diagonal(weights, 0)
    return weights, diagonal


def refuse_large(method: str, num_items: int, max_items: int) -> None:
    """Raise ValueError, with the memory that a catalogue needs, when it is larger than allowed."""
    if num_items > max_items:
        raise ValueError(
            f"{method} inverts an item-item matrix: {num_items} items need {20 * num_items**2 / 1e9:.1f} GB, more than "
            f"settings.{method}.max_items = {max_items} allows; raise it, or take {method} out of baselines"
        )


@dataclass(frozen=True)
class EASE(Method):
    """Score by X B (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019; EASE^R), exactly.

    history (U, I): training pairs, X. weights (I, I) float32: B.
    """

    history: csr_array
    weights: np.ndarray

    @classmethod
    def fit(cls, inputs: Inputs, params: Params, seed: int) -> Self:
        """Raise ValueError when the catalogue is larger than settings.ease.max_items."""
        own, num_items = params.settings.ease, inputs.prepared.train.num_items
        refuse_large("ease", num_items, own.max_items)
        history = history_matrix(inputs.prepared.train)
        return cls(history, item_weights(history, own.l2))

    def score(self, users: np.ndarray) -> np.ndarray:
        return self.score_histories(self.history[known_users(users, self.history.shape[0])])

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        return checked(history_BI, len(self.weights)) @ self.weights

    def save(self, folder: Path) -> None:
        save_arrays(folder / "model.safetensors", sparse_arrays("history", self.history) | {"weights": self.weights})
        count = self.weights.size - len(self.weights)  # the diagonal is 0
        write_json(folder / "model.json", {"method": "ease", "trainable_parameters": count})

    @classmethod
    def load(cls, folder: Path) -> Self:
        arrays, _ = load_arrays(folder / "model.safetensors")
        return cls(sparse_from("history", arrays), arrays["weights"])
