"""Predict the head's rows of items without training users from the items' texts."""

# J new items, K known items, N read-out states, W width of a text state, H language width
from __future__ import annotations

from typing import NamedTuple

import numpy as np

# tried for the ridge regression; text states have length 1
PENALTIES = 10.0 ** np.arange(-3, 4)


class TextRows(NamedTuple):
    """Map text states linearly to rows of the head: row = centre + (text - mean) @ slope.

    The last number of a row is the bias. mean (W,), slope (W, H+1), centre (H+1,): float32.
    """

    mean: np.ndarray
    slope: np.ndarray
    centre: np.ndarray

    def rows(self, text_JW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict the head's weight (J, H) and bias (J,) of new items."""
        found = self.centre + (text_JW - self.mean) @ self.slope
        return found[:, :-1], found[:, -1]


def fit_rows(
    text_KW: np.ndarray, weight_KH: np.ndarray, bias_K: np.ndarray, states_NH: np.ndarray
) -> TextRows:
    """Fit `TextRows` to the head's rows of items with training users, by ridge regression.

    The penalty is the one with the lowest squared error of the leave-one-out estimates, which have
    a closed form. A ridge shrinks its predictions, so new items would never rank high. The slope is
    therefore multiplied by a ratio of two spreads: that of the rows' logits over the items, and
    that of the logits of the leave-one-out estimates. states_NH: read-out states for which these
    logits are computed; the spreads are averaged over them.
    """
    row = np.column_stack([weight_KH, bias_K]).astype(np.float64)
    mean = text_KW.mean(0, dtype=np.float64)
    centre = row.mean(0)
    left, size, right = np.linalg.svd(text_KW - mean, full_matrices=False)
    inner = left.T @ (row - centre)

    def left_out(penalty: float) -> np.ndarray:
        shrink = size**2 / (size**2 + penalty)
        # 1 / len(row): the mean is a regressor too
        own = ((left**2) @ shrink + 1 / len(row))[:, None].clip(max=0.999)
        return row - (row - centre - left @ (shrink[:, None] * inner)) / (1 - own)

    penalty = min(PENALTIES, key=lambda p: float(((row - left_out(p)) ** 2).sum()))

    def spread(rows: np.ndarray) -> float:
        return float((states_NH @ rows[:, :-1].T + rows[:, -1]).std(1).mean())

    gain = spread(row) / max(spread(left_out(penalty)), 1e-12)
    slope = gain * right.T @ ((size / (size**2 + penalty))[:, None] * inner)
    return TextRows(*(array.astype(np.float32) for array in (mean, slope, centre)))
