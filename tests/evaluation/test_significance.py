"""Check intervals, tests and corrections against scipy, known answers and their error rates."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from glta.evaluation.significance import (
    bootstrap,
    compare_paired,
    enough_resamples,
    holm,
    interval,
    over_seeds,
    randomisation_test,
)


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
    ours = randomisation_test(difference[:, None], resamples=40_000, seed=0)[0]
    assert ours == pytest.approx(exact, abs=0.008)


def test_randomisation_agrees_with_the_t_test_for_many_users():
    difference = np.random.default_rng(5).normal(0.05, 1, (1000, 3))
    ours = randomisation_test(difference, resamples=10_000, seed=0)
    assert ours == pytest.approx(stats.ttest_1samp(difference, 0).pvalue, abs=0.02)


def test_randomisation_known_answers():
    assert randomisation_test(np.zeros((5, 1)), resamples=99, seed=0)[0] == 1
    assert randomisation_test(np.ones((40, 1)), resamples=999, seed=0)[0] == 1 / 1000
    # two equal differences: half of all flips are as extreme; rounding must not break these ties
    assert randomisation_test(np.full((2, 1), 0.1), resamples=9999, seed=0)[0] == pytest.approx(
        0.5, abs=0.03
    )


def test_randomisation_does_not_depend_on_the_block_size(monkeypatch):
    difference = np.random.default_rng(5).normal(0.1, 1, (30, 2))
    once = bootstrap(difference, resamples=50, seed=1)
    monkeypatch.setattr("glta.evaluation.significance.BLOCK_BYTES", 1)
    assert np.array_equal(once, bootstrap(difference, resamples=50, seed=1)) or np.allclose(
        once, bootstrap(difference, resamples=50, seed=1), atol=1e-15
    )
    assert randomisation_test(difference, resamples=200, seed=1).shape == (2,)


def test_under_the_null_the_test_rejects_as_often_as_it_should():
    rng = np.random.default_rng(11)
    # a skewed size with a random sign is symmetric around zero, as for two equal methods
    sign = rng.choice([-1, 1], (50, 1500))
    amount = rng.exponential(size=(50, 1500))
    differs = rng.random((50, 1500)) < 0.6
    difference = sign * amount * differs
    p = randomisation_test(difference, resamples=999, seed=0)
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


def test_enough_resamples_lets_the_smallest_p_be_significant():
    for tests in (1, 72, 500):
        n = enough_resamples(tests, confidence=0.95, at_least=2000)
        assert tests / (n + 1) < 0.05 / 5
        assert n >= 2000


def test_compare():
    rng = np.random.default_rng(4)
    other = rng.random((500, 2))
    reference = other + rng.normal([0.1, 0.0], 0.2, (500, 2))
    better, same = compare_paired(reference, other, confidence=0.95, resamples=1000, seed=0)
    difference = reference - other
    assert better.difference == pytest.approx(difference[:, 0].mean())
    assert better.effect == pytest.approx(difference[:, 0].mean() / difference[:, 0].std(ddof=1))
    assert 0 < better.low < better.difference < better.high
    assert 0 < better.effect_low < better.effect < better.effect_high
    assert better.p == 1 / 1001
    assert same.low < 0 < same.high
    t = stats.ttest_rel(reference[:, 0], other[:, 0])
    wide = t.confidence_interval(0.95)
    assert (better.low, better.high) == pytest.approx((wide.low, wide.high), abs=0.004)


def test_compare_equal_methods_and_too_few_users():
    values = np.random.default_rng(0).random((10, 1))
    assert compare_paired(values, values, confidence=0.95, resamples=100, seed=0)[0] == (
        0,
        0,
        0,
        1,
        0,
        0,
        0,
    )
    with pytest.raises(ValueError, match="at least two users"):
        compare_paired(values[:1], values[:1], confidence=0.95, resamples=100, seed=0)
