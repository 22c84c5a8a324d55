"""Check intervals, tests and corrections against scipy, known answers and their error rates."""

from itertools import product

import numpy as np
import polars as pl
import pytest
from scipy import stats

from glta.evaluation.significance import (
    bootstrap,
    compare_paired,
    holm,
    interval,
    over_seeds,
    randomisation_test,
    shares_of_mean,
)
from glta.report.analysis import side_by_side


def test_over_seeds_averages_what_a_user_has():
    frames = [
        pl.DataFrame({"user": [0, 2], "ndcg@5": [0.2, 1.0]}),
        pl.DataFrame({"user": [2, 1], "ndcg@5": [0.0, 0.4]}),
    ]
    assert over_seeds(frames, ["ndcg@5"]).rows() == [(0, 0.2), (1, 0.4), (2, 0.5)]


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(1).exponential(size=(300, 2))
    low, high = interval(bootstrap(values, resamples=4000, seed=0), 0.9)
    for column in range(2):
        other = stats.bootstrap(
            (values[:, column],),
            np.mean,
            n_resamples=4000,
            confidence_level=0.9,
            method="percentile",
            rng=2,
        ).confidence_interval
        assert (low[column], high[column]) == pytest.approx(other, abs=0.01)


def test_bootstrap_is_seeded_and_paired():
    values = np.random.default_rng(1).normal(size=(40, 1))
    both = np.hstack([values, values + 3])
    samples = bootstrap(both, resamples=100, seed=7)
    assert np.array_equal(samples, bootstrap(both, resamples=100, seed=7))
    assert np.allclose(samples[:, 1] - samples[:, 0], 3)
    assert not np.array_equal(samples, bootstrap(both, resamples=100, seed=8))


def test_methods_side_by_side_are_resampled_as_alone():
    rng = np.random.default_rng(1)
    arrays = {
        name: rng.normal(size=(rows, 2))
        for name, rows in {"a": 40, "few": 30, "b": 40, "one": 1, "none": 0}.items()
    }
    found = {}
    for names, columns in side_by_side(arrays):
        samples = np.split(bootstrap(columns, resamples=50, seed=3), len(names), axis=1)
        found |= dict(zip(names, samples, strict=True))
    assert list(found) == ["a", "b", "few"]
    for name, samples in found.items():
        assert np.allclose(samples, bootstrap(arrays[name], resamples=50, seed=3), rtol=1e-12)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(3)
    worlds = rng.exponential(size=(60, 400))  # 400 worlds as columns, mean 1
    low, high = interval(bootstrap(worlds, resamples=1000, seed=0), 0.9)
    covered = ((low <= 1) & (high >= 1)).mean()
    assert 0.83 <= covered <= 0.94


def test_randomisation_agrees_with_scipy_exactly_enumerated():
    difference = np.random.default_rng(5).normal(0.4, 1, 12)
    exact = stats.permutation_test(
        (difference, np.zeros(12)),
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        n_resamples=np.inf,
    ).pvalue
    ours = randomisation_test(difference[:, None], flips=40_000, seed=0)[0]
    assert ours == pytest.approx(exact, abs=0.008)


def test_randomisation_agrees_with_the_t_test_for_many_users():
    difference = np.random.default_rng(5).normal(0.05, 1, (1000, 3))
    ours = randomisation_test(difference, flips=10_000, seed=0)
    assert ours == pytest.approx(stats.ttest_1samp(difference, 0).pvalue, abs=0.02)


def test_randomisation_known_answers():
    assert randomisation_test(np.zeros((5, 1)), flips=99, seed=0)[0] == 1
    assert randomisation_test(np.ones((40, 1)), flips=999, seed=0)[0] == 1 / 1000
    # two equal differences: half of all flips are as extreme; rounding must not break these ties
    assert randomisation_test(np.full((2, 1), 0.1), flips=9999, seed=0)[0] == pytest.approx(
        0.5, abs=0.03
    )


def test_randomisation_is_that_of_all_flips_of_eight_users():
    """Hand-sized: of all 256 flips, those at least as far from zero are counted, on both sides."""
    columns = {
        "mixed": [0.3, 0.1, 0.4, -0.2, 0.5, 0.2, -0.1, 0.6],
        "its mirror": [-0.3, -0.1, -0.4, 0.2, -0.5, -0.2, 0.1, -0.6],
        # 1 + 1 + 1 + 1 + 1 + 1 - 1 = 5 of 7 differing users: 2 * (1 + 7) of 128 flips
        "hits": [1, 1, 0, 1, 1, 1, -1, 1],
        "one user": [0, 0, 0, 0, 0.1, 0, 0, 0],
    }
    difference = np.array(list(columns.values())).T
    flips = np.array(list(product([1, -1], repeat=8)))
    sums = np.abs(flips @ difference)
    exact = (sums >= sums[0] - 1e-9).mean(0)
    assert exact[2] == 16 / 128 and exact[3] == 1
    found = randomisation_test(difference, flips=100_000, seed=0)
    # four standard deviations of a share of 100,000
    assert np.all(np.abs(found - exact) <= 4 * np.sqrt(exact * (1 - exact) / 1e5) + 1e-5)
    assert found[0] == found[1]


def test_100_000_flips_tell_small_p_values_apart():
    """All 18 users differ by 1, but for one, two or three of the others: exact p is known."""
    difference = np.ones((18, 3))
    difference[0, 1] = difference[:2, 2] = -1
    # flips with at most 0, 1 or 2 signs against the rest, on either side, of 2^18
    exact = 2 * np.array([1, 1 + 18, 1 + 18 + 153]) / 2**18
    p = randomisation_test(difference, flips=100_000, seed=0)
    assert p[0] < p[1] < p[2]
    assert np.all(np.abs(p - exact) <= 4 * np.sqrt(exact / 1e5) + 1e-5)


def test_draws_do_not_depend_on_the_block_size(monkeypatch):
    difference = np.random.default_rng(5).normal(0.1, 1, (30, 2))
    means = bootstrap(difference, resamples=50, seed=1)
    p = randomisation_test(difference, flips=200, seed=1)
    monkeypatch.setattr("glta.evaluation.significance.BLOCK_BYTES", 1)
    assert np.allclose(means, bootstrap(difference, resamples=50, seed=1), atol=1e-15)
    assert np.array_equal(p, randomisation_test(difference, flips=200, seed=1))
    assert not np.array_equal(p, randomisation_test(difference, flips=200, seed=2))


def test_users_whom_a_comparison_lacks_do_not_change_its_test():
    rng = np.random.default_rng(2)
    one = pl.DataFrame({"user": [0, 2, 3], "ndcg@20": [0.5, 0.25, 0.125]})
    other = pl.DataFrame({"user": np.arange(12), "ndcg@20": rng.normal(0.5, 1, 12)})
    both = shares_of_mean([one, other])
    assert both.sum(0) == pytest.approx([0.875 / 3, other["ndcg@20"].mean()])
    p = randomisation_test(both, flips=50_000, seed=0)
    # of the 8 flips of three users, the observed one and its mirror are the farthest
    assert p[0] == pytest.approx(2 / 8, abs=0.01)
    alone = randomisation_test(other["ndcg@20"].to_numpy()[:, None], flips=50_000, seed=1)
    assert p[1] == pytest.approx(alone[0], abs=0.01)


def test_p_is_uniform_when_methods_are_equal():
    rng = np.random.default_rng(8)
    # as on real data: most users have no difference, and the others differ by steps
    difference = rng.choice([-0.5, -0.2, 0, 0.2, 0.5], p=[0.1, 0.1, 0.6, 0.1, 0.1], size=(200, 500))
    p = randomisation_test(difference, flips=2000, seed=0)
    assert stats.kstest(p, "uniform").statistic < 1.63 / np.sqrt(500)  # the 1 % limit


def test_under_the_null_the_test_rejects_as_often_as_it_should():
    rng = np.random.default_rng(11)
    # a skewed size with a random sign is symmetric around zero, as for two equal methods
    sign = rng.choice([-1, 1], (50, 1500))
    amount = rng.exponential(size=(50, 1500))
    differs = rng.random((50, 1500)) < 0.6
    difference = sign * amount * differs
    p = randomisation_test(difference, flips=999, seed=0)
    for alpha in (0.01, 0.05, 0.2):
        spread = 4 * np.sqrt(alpha * (1 - alpha) / 1500)
        assert alpha - spread <= (p <= alpha).mean() <= alpha + spread


def test_holm_keeps_the_family_wise_error():
    rng = np.random.default_rng(12)
    p = rng.random((4000, 6))
    wrong = np.mean([(holm(row) <= 0.05).any() for row in p])
    assert 0.035 <= wrong <= 0.065


def test_holm_known_answer_and_shape():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([[0.9, 0.9]])).tolist() == [[1, 1]]
    assert holm(np.array([])).size == 0


def test_compare():
    rng = np.random.default_rng(4)
    difference = rng.normal([0.1, 0.0], 0.2, (500, 2))
    better, same = compare_paired([difference], confidence=0.95, resamples=1000, seed=0)
    assert better.difference == pytest.approx(difference[:, 0].mean())
    assert better.effect == pytest.approx(difference[:, 0].mean() / difference[:, 0].std(ddof=1))
    assert 0 < better.low < better.difference < better.high
    assert 0 < better.effect_low < better.effect < better.effect_high
    assert same.low < 0 < same.high
    t = stats.ttest_1samp(difference[:, 0], 0)
    wide = t.confidence_interval(0.95)
    assert (better.low, better.high) == pytest.approx((wide.low, wide.high), abs=0.004)


def test_each_dataset_counts_alike():
    """A dataset of 2,000 users weighs as much as one of 50, in the mean and in its interval."""
    rng = np.random.default_rng(6)
    small = rng.normal(0.3, 1, (50, 1))
    large = rng.normal(-0.1, 1, (2000, 1))
    (found,) = compare_paired([small, large], confidence=0.95, resamples=2000, seed=0)
    assert found.difference == pytest.approx((small.mean() + large.mean()) / 2)
    error = np.hypot(small.std() / 50**0.5, large.std() / 2000**0.5) / 2
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert found.effect == pytest.approx(
        (small.mean() / small.std(ddof=1) + large.mean() / large.std(ddof=1)) / 2
    )


def test_compare_equal_methods_and_too_few_users():
    same = np.zeros((10, 1))
    (found,) = compare_paired([same], confidence=0.95, resamples=100, seed=0)
    assert found == (0, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="at least two users"):
        compare_paired([same, same[:1]], confidence=0.95, resamples=100, seed=0)
