"""k-means and its cascade: known clusters, no empty cluster, and errors of known size."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.cluster import KMeans

from glta.nn.quantize.codebooks import Codebooks, residual_k_means
from glta.nn.quantize.k_means import _means, k_means, nearest_centres
from glta.nn.quantize.settings import CodeSettings


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def clouds(num: int = 12, size: int = 30, width: int = 5, spread: float = 0.1):
    """Draw rows around centres that are far apart. Returns the rows and their clouds."""
    centre = rng(1).normal(size=(num, width)) * 10
    owner = np.repeat(np.arange(num), size)
    rows = centre[owner] + spread * rng(2).normal(size=(num * size, width))
    return rows.astype(np.float32), owner


def test_known_clusters_are_found():
    rows, owner = clouds()
    found = k_means(rows, 12, rng())
    # each cluster holds one cloud, and each cloud is in one cluster
    assert len({*zip(owner.tolist(), found.cluster.tolist(), strict=True)}) == 12
    means = np.stack([rows[owner == cloud].mean(0) for cloud in range(12)])
    label = [found.cluster[owner == cloud][0] for cloud in range(12)]
    np.testing.assert_allclose(found.centres[label], means, atol=1e-4)
    exact = np.square(rows - means[owner]).sum(1).mean()
    assert found.error == pytest.approx(exact, rel=0.01)
    assert 0.9 * 5 * 0.01 < found.error < 1.1 * 5 * 0.01  # width x spread^2


def test_nearest_centres_are_those_of_the_definition():
    rows = rng(3).normal(size=(5000, 7)).astype(np.float32)
    centres = rng(4).normal(size=(9, 7)).astype(np.float32)
    squared = np.square(rows[:, None].astype(np.float64) - centres).sum(2)
    cluster, distance = nearest_centres(rows, centres)
    np.testing.assert_array_equal(cluster, squared.argmin(1))
    np.testing.assert_allclose(distance, squared.min(1), atol=1e-4)


def test_of_equally_near_centres_the_first_is_taken():
    cluster, _ = nearest_centres(np.zeros((2, 1), np.float32), np.float32([[1], [-1], [1]]))
    assert cluster.tolist() == [0, 0]


def test_the_error_is_that_of_scikit_learn():
    rows = rng(5).normal(size=(3000, 8)).astype(np.float32)
    ours = k_means(rows, 40, rng()).error
    theirs = KMeans(40, n_init=1, random_state=0).fit(rows).inertia_ / len(rows)
    assert 0.97 < ours / theirs < 1.03


def test_restarts_keep_the_best():
    rows = rng(6).normal(size=(200, 3)).astype(np.float32)
    shared = rng()
    single = [k_means(rows, 9, shared, iterations=3).error for _ in range(4)]
    assert len(set(single)) > 1
    assert k_means(rows, 9, rng(), restarts=4, iterations=3).error == min(single)


def test_an_empty_cluster_takes_the_farthest_row():
    rows = np.float32([[0], [1], [9], [10], [30]])
    centres = np.float32([[5], [99], [98]])
    cluster, distance = nearest_centres(rows, centres)
    # 30 is nearest to 5 too: the centre moves to the mean, and the two empty ones to 30 and 0
    moved = _means(rows, centres, cluster, distance)
    assert moved.ravel().tolist() == [10, 30, 0]


@pytest.mark.parametrize("num_rows", [1, 3, 40])
def test_fewer_different_rows_than_clusters(num_rows):
    rows = np.repeat(np.float32([[1, 2]]), num_rows, axis=0)
    found = k_means(rows, 8, rng())
    assert found.error == pytest.approx(0, abs=1e-6)
    assert np.isfinite(found.centres).all() and len(found.centres) == 8


def test_equal_seeds_give_equal_bits():
    rows = rng(7).normal(size=(9000, 4)).astype(np.float32)  # more than a block
    first = k_means(rows, 6, rng(1))
    again = k_means(rows, 6, rng(1))
    assert first.error == again.error and first.centres.tobytes() == again.centres.tobytes()
    assert k_means(rows, 6, rng(2)).centres.tobytes() != first.centres.tobytes()


def test_each_level_clusters_what_is_left_over():
    """Rows are sums of a coarse and a fine vector; two levels find both."""
    coarse = 10 * rng(8).normal(size=(4, 6))
    fine = rng(9).normal(size=(4, 6))
    fine -= fine.mean(0)
    which = np.tile(np.stack(np.meshgrid(range(4), range(4)), -1).reshape(-1, 2), (20, 1))
    rows = (coarse[which[:, 0]] + fine[which[:, 1]]).astype(np.float32)
    books = residual_k_means(rows, CodeSettings(levels=2, codes=4), 0)
    codes = books.nearest(rows)
    assert len({*zip(which[:, 0].tolist(), codes[:, 0].tolist(), strict=True)}) == 4
    assert len({*zip(which[:, 1].tolist(), codes[:, 1].tolist(), strict=True)}) == 4
    *_, total = books.sums(codes)
    np.testing.assert_allclose(total, rows, atol=1e-4)


def test_the_error_falls_with_each_level():
    rows = rng(10).normal(size=(500, 6)).astype(np.float32)
    books = residual_k_means(rows, CodeSettings(levels=4, codes=16), 0)
    codes = books.nearest(rows)
    errors = [np.square(rows - total).sum(1).mean() for total in books.sums(codes)]
    assert all(0 < after < 0.8 * before for before, after in pairwise(errors))
    # scikit-learn's KMeans leaves 0.444 to 0.460 of the variance over, by its seed
    assert 0.44 < errors[0] / 6 < 0.47
    assert codes.dtype == np.int32 and codes.shape == (500, 4)


def test_sums_are_those_of_the_codes():
    books = Codebooks(np.float32([[[1, 0], [2, 0]], [[0, 10], [0, 20]]]))
    first, both = books.sums(np.array([[1, 0], [0, 1]]))
    assert first.tolist() == [[2, 0], [1, 0]]
    assert both.tolist() == [[2, 10], [1, 20]]
    # 1.9 is nearest to 2; nothing is left over for the first column of level 2
    assert books.nearest(np.float32([[1.9, 14]])).tolist() == [[1, 0]]
