"""Linear maps between items, solved in closed form."""

# U users, I items
from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import csr_array

BLOCK = 1024
"""Rows of an item-item matrix that are computed at a time."""

BYTES = 12
"""Bytes for each entry of the map while it is computed: 8 of the Gram matrix, 4 of the map."""


def gram_of(left_UI: csr_array, right_UI: csr_array) -> np.ndarray:
    """Compute left^T right, (I, I) float64 in Fortran order, in blocks of rows."""
    by_item = left_UI.astype(np.float64).T.tocsr()
    right = right_UI.astype(np.float64)
    gram = np.empty((by_item.shape[0], right.shape[1]), order="F")
    for start in range(0, len(gram), BLOCK):
        block = slice(start, start + BLOCK)
        gram[block] = (by_item[block] @ right).toarray()
    return gram


def zero_diagonal_map(gram: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Solve a ridge regression of each item on the other items, in closed form.

    With P = (gram + l2 I)^-1, the solution is B = I - P / diag(P), whose diagonal is 0 (Steck,
    WWW 2019, eq. 8). Column j of B predicts item j. It needs BYTES * I^2 bytes, gram included.
    gram: (I, I) float64 in Fortran order; it is overwritten. l2 > 0.
    Returns B (I, I) and the diagonal of P (I,), both float32. They determine P, which is
    (I - B) diag(P).
    """
    gram[np.diag_indices_from(gram)] += l2
    factor, failed = dpotrf(gram, overwrite_a=True)
    assert not failed  # positive definite, as l2 > 0
    inverse, _ = dpotri(factor, overwrite_c=True)
    weights = np.empty(inverse.shape, np.float32)
    for start in range(0, len(weights), BLOCK):
        block = slice(start, start + BLOCK)
        # LAPACK writes one half of a symmetric matrix
        square = np.triu(inverse[block, block])
        weights[block, block] = square + np.triu(square, 1).T
        weights[:start, block] = inverse[:start, block]
        weights[block, :start] = inverse[:start, block].T
    diagonal = np.diag(inverse).astype(np.float32)
    weights /= -diagonal
    np.fill_diagonal(weights, 0)
    return weights, diagonal


def refuse_large(method: str, num_items: int, max_gb: float, advice: str = "") -> None:
    """Raise ValueError when the map between all items needs more than max_gb gigabytes.

    advice: what else to set, for the message.
    """
    needed = BYTES * num_items**2 / 1e9
    if needed > max_gb:
        raise ValueError(
            f"{method}: the map between {num_items} items takes {needed:.3g} GB to compute, more "
            f"than settings.{method}.max_gb = {max_gb:g}; raise it, {advice}or take {method} out "
            "of methods"
        )
