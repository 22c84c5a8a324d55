"""EASE: a linear map from a user's items to scores of all items, solved in closed form."""

# U users, I items
from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dposv
from scipy.sparse import csr_array

from glta.data.histories import history_matrix
from glta.methods.base import Job, Step
from glta.methods.ease.spec import EASESettings
from glta.methods.shared.closed_form import gram_of, refuse_large, zero_diagonal_map
from glta.methods.shared.item_map import ItemMap, weighed_histories
from glta.methods.shared.similar_items import similar_items


def item_weights(history_UI: csr_array, l2: float) -> np.ndarray:
    """Solve min_B ||X - X B||^2 + l2 ||B||^2 under a zero diagonal of B: (I, I) float32.

    X is history_UI. The solution is B_ij = -P_ij / P_jj for i != j, with P = (X^T X + l2 I)^-1
    (Steck, WWW 2019, eq. 8). Column j predicts item j. It is solved in float64 by Cholesky.
    """
    return zero_diagonal_map(gram_of(history_UI, history_UI), l2)[0]


def nearby_weights(history_UI: csr_array, l2: float, neighbours: int) -> csr_array:
    """Solve EASE with each item predicted from its nearest items alone: a sparse (I, I) float32.

    Column j of the result has at most `neighbours` entries: those of the other items with the
    highest cosine to item j, of equals the lower ids, among items that share a user with it. They
    are the ridge regression of item j on these items. The other entries are 0. With as many
    neighbours as items that all share users, the result is that of `item_weights`. Time grows with
    I * neighbours^3, memory with I * neighbours.
    """
    near = similar_items(history_UI, neighbours, 0.0)
    by_item = history_UI.astype(np.float64).tocsc()
    weights = np.zeros_like(near.data)
    for item in np.flatnonzero(np.diff(near.indptr)):
        own = slice(near.indptr[item], near.indptr[item + 1])
        x = by_item[:, near.indices[own]]
        gram = (x.T @ x).toarray(order="F")
        gram[np.diag_indices_from(gram)] += l2
        _, solved, failed = dposv(gram, x.T @ by_item[:, [item]].toarray(), overwrite_a=True)
        assert not failed  # positive definite, as l2 > 0
        weights[own] = solved[:, 0]
    return csr_array((weights, near.indices, near.indptr), shape=near.shape).T.tocsr()


class EASE(ItemMap):
    """Score by X B.

    The method is EASE^R (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019).
    """

    name = "ease"


class SolveEASE(Step):
    """Solve for the item weights.

    `run` raises ValueError when the map between all items needs more than settings.ease.max_gb, and
    when settings.ease.recency is below 1 and an interaction has no time.
    """

    def run(self, job: Job) -> EASE:
        settings = job.own(EASESettings)
        train = history_matrix(job.prepared.train)
        history = weighed_histories("ease", job.prepared, settings.recency)
        if settings.neighbours is None:
            advice = "set settings.ease.neighbours, "
            refuse_large("ease", train.shape[1], settings.max_gb, advice)
            return EASE(history, item_weights(train, settings.l2), settings.recency)
        weights = nearby_weights(train, settings.l2, settings.neighbours)
        return EASE(history, weights, settings.recency)
