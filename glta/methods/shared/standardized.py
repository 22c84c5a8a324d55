"""Bring component scores to one scale."""

# B users of a block, I items

from __future__ import annotations

import numpy as np


def standardized(scores_BI: np.ndarray, among_I: np.ndarray | None = None) -> np.ndarray:
    """Shift and scale each row to mean 0 and standard deviation 1: (B, I) float32.

    A constant row becomes zeros.
    among_I: (I,) bool, the items over which mean and deviation are computed; None: all items.
    """
    basis = scores_BI if among_I is None else scores_BI.compress(among_I, axis=1)
    centred = scores_BI - basis.mean(1, keepdims=True)
    spread = basis.std(1, keepdims=True)
    # the spread of equal float32 scores may come out as a rounding error instead of 0
    constant = spread <= 1e-6 * np.abs(basis).max(1, keepdims=True)
    return np.where(constant, 0, centred / np.where(constant, 1, spread)).astype(np.float32)
