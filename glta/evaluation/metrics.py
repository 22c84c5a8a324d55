"""Quality of ranked lists.

Definitions stand here once: the report prints them beside its tables.
"""

# B users, K list length, I items
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from glta.data.interactions import Interactions


class Definition(NamedTuple):
    title: str
    # with the range; "relevant items" are a user's test items, a "hit" is a relevant item in the
    # list
    text: str
    better: str  # "higher", "lower" or "neither": a property, not a quality


ACCURACY = {
    "precision": Definition(
        "Precision", "hits / K, also when fewer than K items could be shown. 0 to 1.", "higher"
    ),
    "recall": Definition("Recall", "hits / number of relevant items. 0 to 1.", "higher"),
    "ndcg": Definition(
        "NDCG",
        "sum over the hits of 1 / log2(rank + 1), divided by the largest such sum that min(K, "
        "relevant items) hits "
        "can reach. 0 to 1.",
        "higher",
    ),
    "mrr": Definition("MRR", "1 / rank of the first hit, 0 without one. 0 to 1.", "higher"),
    "map": Definition(
        "MAP",
        "sum over the hits of the precision at their rank, divided by min(K, relevant items). 0 "
        "to 1.",
        "higher",
    ),
    "hit_rate": Definition("Hit rate", "1 when there is a hit, else 0. 0 to 1.", "higher"),
}
"""One value a user; means are taken over all users that have relevant items."""

NEW_GROUPS = ("new_items", "among_new")
"""Items without training users: in lists of the whole catalogue, and in lists of such items alone.
"""

BEYOND_ACCURACY = {
    "coverage": Definition(
        "Coverage",
        "share of the catalogue that is recommended to at least one user. 0 to 1.",
        "higher",
    ),
    "novelty": Definition(
        "Novelty",
        "mean over all recommendations of -log2(share of the training users who have the item), "
        "in bits; an item that nobody "
        "has counts as if one user had it. 0 to log2(users).",
        "neither",
    ),
    "gini": Definition(
        "Gini",
        "inequality of how often the catalogue's items are recommended. 0: all equally often; 1 - "
        "1 / items: one item "
        "gets everything.",
        "lower",
    ),
    "popularity_share": Definition(
        "Popularity share",
        "share of the recommendations that are among the most popular training items. 0 to 1.",
        "neither",
    ),
}
"""One value for the lists of all users together."""


def hits(items_BK: np.ndarray, users_B: np.ndarray, relevant: Interactions) -> np.ndarray:
    """Mark the recommended items that are relevant.

    Returns (B, K) bool; NO_ITEM (-1) is never a hit.
    """
    user = np.broadcast_to(users_B[:, None], items_BK.shape)
    return relevant.contains(user, np.maximum(items_BK, 0)) & (items_BK >= 0)


def accuracy(hits_BK: np.ndarray, num_relevant_B: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Compute the metrics of ACCURACY at cut-off k, each (B,) float64 in [0, 1].

    hits_BK: bool, best first; narrower than k counts as filled up with misses. num_relevant_B:
    relevant items of each user. Raises ValueError for users without relevant items: they have no
    accuracy and are to be left out.
    """
    if (num_relevant_B <= 0).any():
        raise ValueError("users without relevant items have no accuracy: leave them out")
    hit = hits_BK[:, :k].astype(np.float64)
    rank = np.arange(1, hit.shape[1] + 1)
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(num_relevant_B, k) - 1]
    found = hit.sum(1)
    first = np.where(found > 0, (hit > 0).argmax(1) + 1 if hit.shape[1] else np.inf, np.inf)
    return {
        "precision": found / k,
        "recall": found / num_relevant_B,
        # a product per row and not hit @ discount: BLAS sums in an order that depends on the number
        # of rows
        "ndcg": (hit * discount[: hit.shape[1]]).sum(1) / ideal,
        "mrr": 1 / first,
        "map": (hit * np.cumsum(hit, 1) / rank).sum(1) / np.minimum(num_relevant_B, k),
        "hit_rate": (found > 0).astype(np.float64),
    }


def beyond_accuracy(
    items_BK: np.ndarray, train: Interactions, popular_I: np.ndarray
) -> dict[str, float]:
    """Compute the metrics of BEYOND_ACCURACY for lists cut at the wanted length.

    items_BK: item ids, NO_ITEM (-1) where a list is shorter. train: who had what when the lists
    were made.
    popular_I: bool, the items that count as popular (`glta.evaluation.groups.most_popular`).
    Without any recommendation all are 0.
    """
    shown = items_BK[items_BK >= 0]
    if not shown.size:
        return dict.fromkeys(BEYOND_ACCURACY, 0.0)
    exposure = np.bincount(shown, minlength=train.num_items)
    num_users = max(int((train.user_degree > 0).sum()), 1)
    information = -np.log2(np.maximum(train.item_degree, 1) / num_users)
    return {
        "coverage": float((exposure > 0).mean()),
        "novelty": float((exposure * information).sum() / shown.size),
        "gini": gini(exposure),
        "popularity_share": float(popular_I[shown].mean()),
    }


def gini(amounts: np.ndarray) -> float:
    """Measure the inequality of non-negative amounts (I,): 0 when all are equal, 1 - 1/I when one
    has everything.

    Half the mean absolute difference of two amounts drawn at random, over their mean (Gini 1912),
    computed by sorting.
    """
    amounts, total = np.sort(amounts), amounts.sum()
    place = 2 * np.arange(1, amounts.size + 1) - amounts.size - 1
    return float((place * amounts).sum() / (amounts.size * total)) if total else 0.0
