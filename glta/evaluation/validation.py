"""The one number that everything is selected by: NDCG@20 on the validation pairs, training items
masked.
"""

# I items, B users of a block, S candidates that are compared
from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

from glta.data.prepared import Prepared
from glta.evaluation.metrics import accuracy, hits
from glta.evaluation.ranking import dot_products, top_k

Scores = np.ndarray | torch.Tensor


def validation_ndcg(
    prepared: Prepared, score: Callable[[np.ndarray], Scores], k: int = 20
) -> float:
    """Average NDCG@k over the users that have validation items. Returns a value in [0, 1].

    score: maps users (B,) to scores (B, I), a fresh array or tensor on any device, which is
    changed. Raises ValueError without validation pairs.
    """
    return float(validation_ndcgs(prepared, lambda users: [score(users)], k)[0])


def embeddings_ndcg(prepared: Prepared) -> Callable[[np.ndarray, np.ndarray], float]:
    """Make the measure of embeddings that score by dot products: maps users (U, D) and items (I, D)
    to `validation_ndcg`.
    """
    return lambda user_UD, item_ID: validation_ndcg(
        prepared, lambda users: dot_products(user_UD[users], item_ID)
    )


def validation_ndcgs(
    prepared: Prepared,
    scores: Callable[[np.ndarray], Iterable[Scores]],
    k: int = 20,
    block_bytes: int = 32 * 2**20,
) -> np.ndarray:
    """Average NDCG@k for several candidates at once, so that what they share is computed once a
    block of users.

    scores: maps users (B,) to S arrays or tensors (B, I), equally many for every block. Returns
    (S,) float64.
    """
    valid, train = prepared.valid, prepared.train
    users = np.flatnonzero(valid.user_degree)
    if not users.size:
        raise ValueError(
            "there are no validation pairs to select by: raise prepare.valid_share or lower "
            "prepare.user_core"
        )
    block = max(1, block_bytes // (4 * valid.num_items))
    totals = []
    for start in range(0, users.size, block):
        part = users[start : start + block]
        pairs = [torch.from_numpy(ids) for ids in train.rows(part)]
        relevant = valid.user_degree[part]
        values = []
        for candidate in scores(part):
            scores_BI = torch.as_tensor(candidate)
            row, item = (ids.to(scores_BI.device) for ids in pairs)
            scores_BI[row, item] = -torch.inf
            best = top_k(scores_BI, k)[1].cpu().numpy()
            values.append(accuracy(hits(best, part, valid), relevant, k)["ndcg"].sum())
        totals.append(values)
    return np.sum(totals, axis=0) / users.size
