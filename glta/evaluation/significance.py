"""Compare methods over the same users: intervals, randomisation tests and effect sizes.

The unit is the user. With several seeds, a user's values are first averaged over the seeds. All
seeds are tested on the same pairs of the same users, so pairs (seed, user) are not independent, and
counting them as independent would make the intervals too narrow. All users are served by the same
trained models. The intervals therefore tell what to expect of other users of the same kind, and
nothing about another training. The spread over seeds tells that, and the report shows it beside the
interval.
"""

# U users, M columns (a metric of a method, or a difference), R resamples or sign flips
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

BLOCK_BYTES = 32 * 2**20
"""Memory that one block of resamples may take."""


class Comparison(NamedTuple):
    """Hold the comparison of two methods in one metric.

    difference: mean over users of reference minus other. low, high: its bootstrap interval.
    effect: Cohen's d_z, the mean difference in standard deviations of the differences.
    effect_low, effect_high: its bootstrap interval.
    """

    difference: float
    low: float
    high: float
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


def randomisation_test(differences_UM: np.ndarray, *, flips: int, seed: int) -> np.ndarray:
    """Test whether the mean difference is zero (Fisher 1935), two-sided.

    The signs of all users' differences are flipped at random, `flips` times. All columns share the
    flips. Returns (M,) p-values (k + 1) / (flips + 1), where k counts the flips whose sum is at
    least as far from zero as the observed one (Phipson and Smyth 2010). Such a value is never 0 and
    is valid for every number of flips. Columns without any difference have p = 1.
    """
    # a user whose differences are all 0 adds nothing to any sum
    differing_UM = differences_UM[differences_UM.any(1)]
    total = differing_UM.sum(0)
    # sums of the same numbers in another order differ by rounding; these ties count as "as far"
    limit = np.abs(total) - 1e-9 * np.abs(differing_UM).sum(0)
    doubled_UM = 2 * differing_UM
    beyond = np.zeros(total.size, np.int64)
    for flipped_RU in _flipped(len(differing_UM), flips=flips, seed=seed):
        # sum of s * d with s = 1 - 2 * flipped
        sums_RM = total - flipped_RU @ doubled_UM
        beyond += (np.abs(sums_RM) >= limit).sum(0)
    return (beyond + 1) / (flips + 1)


def shares_of_mean(frames: Sequence[pl.DataFrame]) -> np.ndarray:
    """Put differences of several comparisons into one array, for one test of all of them.

    frames: one for each comparison, with the column user (ids from 0) and one column of
    differences. Returns (U, M) with what each user adds to each comparison's mean, so that a column
    sums to the mean. It is 0 for a user whom a comparison does not have. Such a user changes no sum
    of flipped signs, and so no p-value.
    """
    num_users = max((frame["user"].to_numpy().max(initial=-1) + 1 for frame in frames), default=0)
    shares_UM = np.zeros((num_users, len(frames)))
    for column, frame in enumerate(frames):
        user, difference = frame
        shares_UM[user.to_numpy(), column] = difference.to_numpy() / frame.height
    return shares_UM


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


def compare_paired(
    differences: Sequence[np.ndarray], *, confidence: float, resamples: int, seed: int
) -> list[Comparison]:
    """Compare two methods over the same users, one comparison for each column.

    differences: one array (U, M) for each data set, reference minus other, a row for each user.
    Each data set counts alike: the difference and the effect are means over the data sets, and
    users are drawn within their data set. Returns M comparisons. The effect in a data set is 0
    where the differences do not vary. Raises ValueError for fewer than two users in a data set.
    """
    for difference_UM in differences:
        if len(difference_UM) < 2:
            raise ValueError(
                f"a comparison needs at least two users who were served by both methods, found "
                f"{len(difference_UM)}"
            )
    drawn = [
        _resampled(difference_UM, resamples=resamples, seed=seed + place)
        for place, difference_UM in enumerate(differences)
    ]
    means, effects = (np.mean(samples, axis=0) for samples in zip(*drawn, strict=True))
    low, high = interval(means, confidence)
    effect_low, effect_high = interval(effects, confidence)
    mean = np.mean([array.mean(0) for array in differences], axis=0)
    effect = np.mean([_ratio(x.mean(0), x.std(0, ddof=1)) for x in differences], axis=0)
    fields = (mean, low, high, effect, effect_low, effect_high)
    return [Comparison(*map(float, column)) for column in zip(*fields, strict=True)]


def _resampled(
    difference_UM: np.ndarray, *, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the means and the effects d_z of bootstrap samples, each (R, M)."""
    num_users, num_columns = difference_UM.shape
    moments = bootstrap(
        np.hstack([difference_UM, difference_UM**2]), resamples=resamples, seed=seed
    )
    mean_RM = moments[:, :num_columns]
    square_RM = moments[:, num_columns:]
    # the variance from moments may come out a rounding error below zero
    deviation_RM = np.sqrt(np.maximum(square_RM - mean_RM**2, 0) * num_users / (num_users - 1))
    return mean_RM, _ratio(mean_RM, deviation_RM)


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


def _flipped(num_users: int, *, flips: int, seed: int) -> Iterator[np.ndarray]:
    """Draw which users' signs are flipped, in blocks. Yields (rows, U) float64 of 0 and 1."""
    rng = np.random.default_rng(seed)
    # one random bit for each user and flip. A flip takes whole words of 64 bits, so that the bits
    # do not depend on the size of the blocks
    num_bytes = 8 * -(-num_users // 64)
    for rows in _blocks(num_users, flips):
        bits = np.frombuffer(rng.bytes(rows * num_bytes), np.uint8).reshape(rows, num_bytes)
        yield np.unpackbits(bits, axis=1, count=num_users).astype(np.float64)
