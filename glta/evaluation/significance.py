"""Paired comparisons of methods over users: intervals, randomisation tests, Holm's correction,
effect sizes.

The unit is the user. With several seeds a user's values are averaged over the seeds first: the
seeds' test sets are other draws from the same users, so (seed, user) pairs are not independent, and
treating them so would make intervals too narrow. The intervals therefore speak of other users of
the same kind; what the seeds add is shown as a spread of its own.
"""

# U users, M columns (a metric of a method, or a difference), R resamples
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

BLOCK_BYTES = 32 * 2**20


class Comparison(NamedTuple):
    """One column of differences between two methods."""

    difference: float
    low: float  # bootstrap interval of the difference
    high: float
    p: float  # two-sided randomisation test, uncorrected
    effect: float  # Cohen's d_z
    effect_low: float
    effect_high: float


def over_seeds(frames: list[pl.DataFrame], columns: list[str]) -> pl.DataFrame:
    """Average each user's values over the seeds in which that user was tested.

    Returns user and columns, sorted by user.
    """
    stacked = pl.concat([frame.select("user", *columns) for frame in frames])
    # a sort before the sum, so that floating-point sums do not depend on the order of groups
    return stacked.sort("user", maintain_order=True).group_by("user", maintain_order=True).mean()


def bootstrap(values_UM: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Draw users with replacement and average.

    Returns (R, M) means; columns share their draws, so differences stay paired.
    """
    return np.concatenate(
        [weights_RU @ values_UM for weights_RU in _draws(len(values_UM), resamples, seed)]
    )


def interval(samples_RM: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the central percentile interval of each column (Efron 1979): low and high, each
    (M,).
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples_RM, [tail, 1 - tail], axis=0)
    return low, high


def randomisation_test(differences_UM: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Test whether the mean difference is zero by flipping signs of users at random (Fisher 1935),
    two-sided.

    Returns (M,) p-values (k + 1) / (R + 1), k of R random flips being at least as far from zero
    (Phipson and Smyth 2010): never 0, and valid for every R. Columns without any difference have p
    = 1.
    """
    num_users = len(differences_UM)
    observed = np.abs(differences_UM.sum(0))
    # sums of the same numbers in another order differ by rounding: such a tie counts as "at least
    # as far"
    limit = observed - 1e-9 * np.abs(differences_UM).sum(0)
    rng, beyond = np.random.default_rng(seed), np.zeros(differences_UM.shape[1], np.int64)
    for rows in _blocks(num_users, resamples):
        bits = np.frombuffer(rng.bytes(rows * ((num_users + 7) // 8)), np.uint8).reshape(rows, -1)
        flip = np.unpackbits(bits, axis=1, count=num_users)
        # sum of s * d with s = 1 - 2 * flip
        sums = differences_UM.sum(0) - 2 * (flip.astype(np.float64) @ differences_UM)
        beyond += (np.abs(sums) >= limit).sum(0)
    return (beyond + 1) / (resamples + 1)


def holm(p: np.ndarray) -> np.ndarray:
    """Correct p-values for testing all of them (Holm 1979): the family-wise error stays below the
    level. Any shape.
    """
    flat = np.ravel(p)
    order = np.argsort(flat, kind="stable")
    stepped = flat[order] * np.arange(flat.size, 0, -1)
    corrected = np.empty_like(flat)
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return corrected.reshape(np.shape(p))


def enough_resamples(num_tests: int, confidence: float, at_least: int) -> int:
    """Return how many sign flips let the smallest corrected p-value come out at a tenth of the
    level.

    With too few, 1 / (R + 1) times the number of tests stays above the level and nothing could ever
    be significant.
    """
    return max(at_least, round(10 * num_tests / (1 - confidence)))


def compare(
    reference_UM: np.ndarray,
    other_UM: np.ndarray,
    confidence: float,
    resamples: int,
    seed: int,
    flips: int | None = None,
) -> list[Comparison]:
    """Compare columns of the same users pairwise, reference minus other. flips: of the test,
    resamples when None.

    Effect: mean difference / standard deviation of the differences (Cohen's d_z), 0 where they do
    not vary. Raises ValueError for fewer than two users.
    """
    difference_UM = reference_UM - other_UM
    if len(difference_UM) < 2:
        raise ValueError(f"{len(difference_UM)} users: a comparison needs two at least")
    num_users, num_columns = difference_UM.shape
    moments = bootstrap(np.hstack([difference_UM, difference_UM**2]), resamples, seed)
    mean_RM, square_RM = moments[:, :num_columns], moments[:, num_columns:]
    low, high = interval(mean_RM, confidence)
    # the variance from moments may come out a rounding error below zero
    deviation_RM = np.sqrt(np.maximum(square_RM - mean_RM**2, 0) * num_users / (num_users - 1))
    effect_low, effect_high = interval(_ratio(mean_RM, deviation_RM), confidence)
    mean = difference_UM.mean(0)
    columns = (
        mean,
        low,
        high,
        randomisation_test(difference_UM, flips or resamples, seed),
        _ratio(mean, difference_UM.std(0, ddof=1)),
        effect_low,
        effect_high,
    )
    return [Comparison(*map(float, column)) for column in zip(*columns, strict=True)]


def _ratio(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 1e-12)


def _blocks(num_users: int, resamples: int) -> Iterator[int]:
    """Cut resamples into blocks of bounded memory."""
    block = max(1, BLOCK_BYTES // (8 * max(num_users, 1)))
    for start in range(0, resamples, block):
        yield min(block, resamples - start)


def _draws(num_users: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield blocks (rows, U) of weights: how often each user was drawn, over U."""
    rng = np.random.default_rng(seed)
    for rows in _blocks(num_users, resamples):
        counts = [
            np.bincount(rng.integers(num_users, size=num_users), minlength=num_users)
            for _ in range(rows)
        ]
        yield np.stack(counts) / num_users
