"""Linear maps between items, solved in closed form."""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri


def zero_diagonal_map(gram: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Solve for B from a Gram matrix (I, I) float64 in Fortran order, which is overwritten; as
    `item_weights`.

    Returns B and the diagonal of P, (I,) float32, from which P can be told again: P = (1 - B)
    diag(P).
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
            f"{method} inverts an item-item matrix: {num_items} items need "
            f"{20 * num_items**2 / 1e9:.1f} GB, more than "
            f"settings.{method}.max_items = {max_items} allows; raise it, or take {method} out of "
            "methods"
        )
