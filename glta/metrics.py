"""Accuracy of ranked lists, per user. Definitions stand here once; the report prints these docstrings' wording."""

# B users, K list length
from __future__ import annotations

import numpy as np

from glta.data.interactions import Interactions


def hits(items_BK: np.ndarray, users_B: np.ndarray, relevant: Interactions) -> np.ndarray:
    """Mark the recommended items that are relevant. Returns (B, K) bool; NO_ITEM (-1) is never a hit."""
    user = np.broadcast_to(users_B[:, None], items_BK.shape)
    return relevant.contains(user, np.maximum(items_BK, 0)) & (items_BK >= 0)


def accuracy(hits_BK: np.ndarray, num_relevant_B: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Compute the accuracy metrics at cut-off k, each (B,) float64 in [0, 1].

    precision: hits / k (also when fewer than k items could be shown). recall: hits / number of relevant items.
    ndcg: DCG with gain 1 and discount log2(rank + 1), over the best DCG possible with min(k, number of relevant) hits.
    mrr: 1 / rank of the first hit, 0 without one. map: mean over the hits of precision at their rank, divided by
    min(k, number of relevant). hit_rate: 1 when there is a hit.
    num_relevant_B must be positive: users without relevant items are to be left out. Raises ValueError otherwise.
    """
    if (num_relevant_B <= 0).any():
        raise ValueError("users without relevant items have no accuracy: leave them out")
    hit = hits_BK[:, :k].astype(np.float64)
    rank = np.arange(1, hit.shape[1] + 1)
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(num_relevant_B, k) - 1]
    found = hit.sum(1)
    first = np.where(found > 0, hit.argmax(1) + 1, np.inf)
    return {
        "precision": found / k,
        "recall": found / num_relevant_B,
        "ndcg": hit @ discount[: hit.shape[1]] / ideal,
        "mrr": 1 / first,
        "map": (hit * np.cumsum(hit, 1) / rank).sum(1) / np.minimum(num_relevant_B, k),
        "hit_rate": (found > 0).astype(np.float64),
    }
