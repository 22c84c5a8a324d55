"""Compare methods over the same users: intervals, randomisation tests and effect sizes.

The unit is the user. With several seeds, a user's values are first averaged over the seeds. The
test sets of the seeds are other draws from the same users, so pairs (seed, user) are not
independent, and counting them as independent would make the intervals too narrow. The intervals
therefore tell what to expect of other users of the same kind. The report shows the spread over
seeds as a number of its own.
"""

# U users, M columns (a metric of a method, or a difference), R resamples
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

BLOCK_BYTES = 32 * 2**20
"""Memory that one block of resamples may take."""


class Comparison(NamedTuple):
    """Hold the comparison of two methods in one metric.

    difference: mean over users of reference minus other. low, high: its bootstrap interval.
    p: of the two-sided randomisation test, not corrected for other tests.
    effect: Cohen's d_z, the mean difference in standard deviations of the differences.
    effect_low, effect_high: its bootstrap interval.
    """

    difference: float
    low: float
    high: float
    p: float
    effect: float
    effect_low: float
    effect_high: float


def over_seeds(frames: list[pl.DataFrame], columns: list[str]) -> pl.DataFrame:
    """Average each user's values over the seeds in which the user was tested.

    frames: one for each seed, with the column user and the given columns. Returns the same columns,
    sorted by user.
    """
    stacked = pl.concat([frame.select("user", *columns) for frame in frames])
    # sorting first makes the floating-point sums independent of the order of groups
    return stacked.sort("user", maintain_order=True).group_by("user", maintain_order=True).mean()


def bootstrap(values_UM: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Draw users with replacement and average their values, again and again.

    Returns (R, M) means. All columns share their draws, so differences of columns stay paired.
    """
    draws = _draws(len(values_UM), resamples=resamples, seed=seed)
    return np.concatenate([weights_RU @ values_UM for weights_RU in draws])


def interval(samples_RM: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute the central percentile interval of each column (Efron 1979).

    confidence: in (0, 1). Returns the lower and upper limits, each (M,).
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples_RM, [tail, 1 - tail], axis=0)
    return low, high


def randomisation_test(differences_UM: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Test whether the mean difference is zero (Fisher 1935), two-sided.

    The signs of all users' differences are flipped at random, R times. Returns (M,) p-values
    (k + 1) / (R + 1), where k counts the flips whose mean is at least as far from zero as the
    observed one (Phipson and Smyth 2010). Such a value is never 0 and is valid for every R. Columns
    without any difference have p = 1.
    """
    num_users = len(differences_UM)
    observed = np.abs(differences_UM.sum(0))
    # sums of the same numbers in another order differ by rounding; these ties count as "as far"
    limit = observed - 1e-9 * np.abs(differences_UM).sum(0)
    rng = np.random.default_rng(seed)
    beyond = np.zeros(differences_UM.shape[1], np.int64)
    for rows in _blocks(num_users, resamples):
        bits = np.frombuffer(rng.bytes(rows * ((num_users + 7) // 8)), np.uint8).reshape(rows, -1)
        flip = np.unpackbits(bits, axis=1, count=num_users)
        # sum of s * d with s = 1 - 2 * flip
        sums = differences_UM.sum(0) - 2 * (flip.astype(np.float64) @ differences_UM)
        beyond += (np.abs(sums) >= limit).sum(0)
    return (beyond + 1) / (resamples + 1)


def holm(p: np.ndarray) -> np.ndarray:
    """Correct p-values for testing all of them together (Holm 1979).

    The chance of any false rejection then stays below the level. p: of any shape, which the result
    has too.
    """
    flat = np.ravel(p)
    order = np.argsort(flat, kind="stable")
    stepped = flat[order] * np.arange(flat.size, 0, -1)
    corrected = np.empty_like(flat)
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return corrected.reshape(np.shape(p))


def enough_resamples(num_tests: int, *, confidence: float, at_least: int) -> int:
    """Return how many sign flips a randomisation test needs when several tests are corrected.

    The smallest possible p-value is 1 / (R + 1), and Holm multiplies it by the number of tests.
    With too few flips the product stays above the level, and no difference could be significant.
    The number returned lets the smallest corrected p-value reach a tenth of the level.
    """
    return max(at_least, round(10 * num_tests / (1 - confidence)))


def compare_paired(
    reference_UM: np.ndarray,
    other_UM: np.ndarray,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    flips: int | None = None,
) -> list[Comparison]:
    """Compare two methods over the same users, one comparison for each column.

    Row u of both arrays belongs to the same user. resamples: of the bootstrap. flips: sign flips of
    the randomisation test, as many as resamples when None. Returns M comparisons of reference minus
    other. The effect is 0 where the differences do not vary. Raises ValueError for fewer than two
    users.
    """
    difference_UM = reference_UM - other_UM
    if len(difference_UM) < 2:
        raise ValueError(
            f"a comparison needs at least two users who were served by both methods, found "
            f"{len(difference_UM)}"
        )
    num_users, num_columns = difference_UM.shape
    moments = bootstrap(
        np.hstack([difference_UM, difference_UM**2]), resamples=resamples, seed=seed
    )
    mean_RM = moments[:, :num_columns]
    square_RM = moments[:, num_columns:]
    low, high = interval(mean_RM, confidence)
    # the variance from moments may come out a rounding error below zero
    deviation_RM = np.sqrt(np.maximum(square_RM - mean_RM**2, 0) * num_users / (num_users - 1))
    effect_low, effect_high = interval(_ratio(mean_RM, deviation_RM), confidence)
    mean = difference_UM.mean(0)
    p = randomisation_test(difference_UM, resamples=flips or resamples, seed=seed)
    effect = _ratio(mean, difference_UM.std(0, ddof=1))
    fields = (mean, low, high, p, effect, effect_low, effect_high)
    return [Comparison(*map(float, column)) for column in zip(*fields, strict=True)]


def _ratio(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Divide means by standard deviations; 0 where the deviation is 0 up to rounding."""
    return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 1e-12)


def _blocks(num_users: int, resamples: int) -> Iterator[int]:
    """Yield the sizes of blocks that take at most BLOCK_BYTES and add up to the resamples."""
    block_size = max(1, BLOCK_BYTES // (8 * max(num_users, 1)))
    for start in range(0, resamples, block_size):
        yield min(block_size, resamples - start)


def _draws(num_users: int, *, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draw bootstrap samples of users, in blocks.

    Yields (rows, U) weights: how often each user was drawn, divided by U.
    """
    rng = np.random.default_rng(seed)
    for rows in _blocks(num_users, resamples):
        counts = [
            np.bincount(rng.integers(num_users, size=num_users), minlength=num_users)
            for _ in range(rows)
        ]
        yield np.stack(counts) / num_users
