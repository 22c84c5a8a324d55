"""k-means on many rows: greedy k-means++ start, Lloyd's iterations, no empty cluster.

Equal seeds give equal bits also with several threads, which scikit-learn's KMeans does not promise:
its threads add up the centres in the order in which they finish.
"""

# N rows, F width, K clusters, T candidates
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

BLOCK = 4096
"""Rows whose distances to all centres are in memory at once."""

SEEDING_ROWS = 128
"""The start looks at no more rows per cluster than these, drawn at random."""

TOLERANCE = 1e-5
"""Iterations end when one lowers the error by a smaller share."""


class Clustering(NamedTuple):
    """Hold the result of k-means.

    centres: (K, F) float32. cluster: (N,), of each row. error: the mean squared distance of a row
    to its centre.
    """

    centres: np.ndarray
    cluster: np.ndarray
    error: float


def k_means(
    rows_NF: np.ndarray,
    num_clusters: int,
    rng: np.random.Generator,
    *,
    restarts: int = 1,
    iterations: int = 50,
) -> Clustering:
    """Cluster rows; the best of several starts.

    The start is greedy k-means++ (Arthur and Vassilvitskii, SODA 2007). An empty cluster takes the
    row that is farthest from its centre. Clusters stay empty where there are fewer different rows
    than clusters.
    rows_NF: float32. iterations: the most of each start.
    """
    found = [_one_start(rows_NF, num_clusters, rng, iterations) for _ in range(restarts)]
    return min(found, key=lambda clustering: clustering.error)


def nearest_centres(rows_NF: np.ndarray, centres_KF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the centre nearest to each row. Of equally near ones, the first.

    Returns their numbers (N,) and the squared distances (N,) float32, which are good to about 1e-6
    of the squared length of the row.
    """
    half_K = np.square(centres_KF).sum(1) / 2
    cluster = np.empty(len(rows_NF), np.int64)
    closeness = np.empty(len(rows_NF), np.float32)
    for begin in range(0, len(rows_NF), BLOCK):
        # the squared distance is the row's squared length minus twice this
        product = rows_NF[begin : begin + BLOCK] @ centres_KF.T
        product -= half_K
        best = product.argmax(1)
        cluster[begin : begin + BLOCK] = best
        closeness[begin : begin + BLOCK] = product[np.arange(len(best)), best]
    return cluster, (_squares(rows_NF) - 2 * closeness).clip(0)


def _one_start(
    rows_NF: np.ndarray, num_clusters: int, rng: np.random.Generator, iterations: int
) -> Clustering:
    """Cluster rows from one start."""
    centres = _start(rows_NF, num_clusters, rng)
    cluster, distance = nearest_centres(rows_NF, centres)
    error = distance.mean(dtype=np.float64)
    for _ in range(iterations):
        before = error
        centres = _means(rows_NF, centres, cluster, distance)
        cluster, distance = nearest_centres(rows_NF, centres)
        error = distance.mean(dtype=np.float64)
        if before - error <= TOLERANCE * before:
            break
    return Clustering(centres, cluster, float(error))


def _means(
    rows_NF: np.ndarray, centres_KF: np.ndarray, cluster: np.ndarray, distance: np.ndarray
) -> np.ndarray:
    """Move each centre to the mean of its rows, and empty ones to the rows farthest from theirs."""
    size = len(rows_NF)
    member_NK = csr_array(
        (np.ones(size, np.float32), cluster, np.arange(size + 1)), shape=(size, len(centres_KF))
    )
    count = np.bincount(cluster, minlength=len(centres_KF))
    moved = np.asarray(member_NK.T @ rows_NF) / np.maximum(count, 1)[:, None].astype(np.float32)
    empty = np.flatnonzero(count == 0)
    moved[empty] = centres_KF[empty]
    far = np.argsort(-distance, kind="stable")[: empty.size]
    far = far[distance[far] > 0]
    moved[empty[: far.size]] = rows_NF[far]
    return moved


def _start(rows_NF: np.ndarray, num_clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Draw centres among the rows, each far from those before: (K, F).

    Each is the best of a few candidates, drawn in proportion to the squared distance to the nearest
    centre so far.
    """
    most = SEEDING_ROWS * num_clusters
    if len(rows_NF) > most:
        rows_NF = rows_NF[rng.choice(len(rows_NF), most, replace=False)]
    square_N = _squares(rows_NF)
    tries = 2 + int(np.log(num_clusters))
    chosen = [int(rng.integers(len(rows_NF)))]
    distance_N = _distances(rows_NF, square_N, np.array(chosen))[0]
    for _ in range(num_clusters - 1):
        upto = np.cumsum(distance_N, dtype=np.float64)
        place = np.searchsorted(upto, rng.random(tries) * upto[-1], side="right")
        candidates = place.clip(max=len(rows_NF) - 1)
        nearer_TN = np.minimum(_distances(rows_NF, square_N, candidates), distance_N)
        best = nearer_TN.sum(1).argmin()
        chosen.append(int(candidates[best]))
        distance_N = nearer_TN[best]
    return rows_NF[chosen]


def _distances(rows_NF: np.ndarray, square_N: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the squared distances of all rows to some of them: (T, N)."""
    some = rows_NF[chosen]
    return (square_N - 2 * (some @ rows_NF.T) + square_N[chosen][:, None]).clip(0)


def _squares(rows_NF: np.ndarray) -> np.ndarray:
    """Return the squared length of each row (N,)."""
    return np.einsum("nf,nf->n", rows_NF, rows_NF)
