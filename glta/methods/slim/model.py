"""SLIM: a sparse linear map from a user's items to scores of all items, with weights >= 0."""

# U users, I items
from __future__ import annotations

import numpy as np
from scipy.sparse import csc_array, csr_array, csr_matrix

from glta.data.histories import history_matrix
from glta.methods.base import Job, Step
from glta.methods.shared.item_map import ItemMap
from glta.methods.slim.spec import SLIMSettings

MOST_SWEEPS = 100
"""Coordinate descent over all items at most; it ends when no weight moves by `TOLERANCE`."""

TOLERANCE = 1e-4


def sparse_weights(history_UI: csr_array, l1: float, l2: float) -> csc_array:
    """Solve min_W 1/2 ||X - X W||^2 + l2/2 ||W||^2 + l1 |W| under W >= 0, diag W = 0.

    X is history_UI. Column j of W, (I, I) float32, predicts item j (Ning and Karypis, ICDM 2011,
    eq. 4). irspack solves it by coordinate descent. It runs in one thread: with several, the order
    of the coordinates, and with it the last digits, would differ from run to run.
    """
    from irspack.recommenders import SLIMRecommender

    num_users = history_UI.shape[0]
    solver = SLIMRecommender(
        csr_matrix(history_UI),  # irspack takes no csr_array
        alpha=(l1 + l2) / num_users,
        l1_ratio=l1 / (l1 + l2),
        positive_only=True,
        n_iter=MOST_SWEEPS,
        tol=TOLERANCE,
        n_threads=1,
    )
    solver.learn()
    return csc_array(solver.W)


def largest(weights_II: csc_array, count: int) -> csr_array:
    """Keep the largest `count` weights of each column. Of equal ones, the first rows are kept.

    irspack's own top_k may keep weights of another column (0.5.2).
    """
    weights = weights_II.tocoo()
    order = np.lexsort((weights.row, -weights.data, weights.col))
    column = weights.col[order]
    kept = order[np.arange(order.size) - np.searchsorted(column, column) < count]
    pairs = (weights.row[kept], weights.col[kept])
    return csr_array((weights.data[kept].astype(np.float32), pairs), shape=weights.shape)


class SLIM(ItemMap):
    """Score by X W. history: X (U, I), 1 for training pairs. weights: W, see `sparse_weights`."""

    name = "slim"


class FitSLIM(Step):
    """Fit the item weights."""

    def run(self, job: Job) -> SLIM:
        settings = job.own(SLIMSettings)
        history = history_matrix(job.prepared.train)
        weights = sparse_weights(history, settings.l1, settings.l2)
        return SLIM(history, largest(weights, settings.neighbours), recency=1)
