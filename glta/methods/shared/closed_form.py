"""Linear maps between items, solved in closed form."""

# I items
from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri


def zero_diagonal_map(gram: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Solve a ridge regression of each item on the other items, in closed form.

    With P = (gram + l2 I)^-1, the solution is B = I - P / diag(P), whose diagonal is 0 (Steck,
    WWW 2019, eq. 8). Column j of B predicts item j.
    gram: (I, I) float64 in Fortran order; it is overwritten. l2 > 0.
    Returns B (I, I) and the diagonal of P (I,), both float32. They determine P, which is
    (I - B) diag(P).
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
    """Raise ValueError when a catalogue has more than max_items items.

    The message gives the memory that an item-item matrix would need.
    """
    if num_items > max_items:
        raise ValueError(
            f"{method} inverts an item-item matrix: {num_items} items need "
            f"{20 * num_items**2 / 1e9:.1f} GB, more than settings.{method}.max_items = "
            f"{max_items} allows; raise it, or take {method} out of methods"
        )
