"""Measure the quality of ranked lists.

Every metric is defined once, here. The report prints these definitions beside its tables.
"""

# B users, K list length, I items
from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from glta.data.interactions import Interactions


class Definition(NamedTuple):
    """Describe a metric.

    title: how the report writes it.
    text: the formula and the range. The relevant items are a user's test items. A hit is a relevant
        item in the list.
    better: which values are better. "neither" marks a property that is no quality.
    """

    title: str
    text: str
    better: Literal["higher", "lower", "neither"]


ACCURACY = {
    "precision": Definition(
        "Precision",
        "Hits / K, also when the list has fewer than K items. 0 to 1.",
        "higher",
    ),
    "recall": Definition("Recall", "Hits / number of relevant items. 0 to 1.", "higher"),
    "ndcg": Definition(
        "NDCG",
        "Normalised discounted cumulative gain: the sum over the hits of 1 / log2(rank + 1), "
        "divided by the largest sum that min(K, relevant items) hits can reach. 0 to 1.",
        "higher",
    ),
    "mrr": Definition(
        "MRR", "Reciprocal rank: 1 / rank of the first hit, or 0 without a hit. 0 to 1.", "higher"
    ),
    "map": Definition(
        "MAP",
        "Average precision: the sum over the hits of the precision at their rank, divided by "
        "min(K, relevant items). 0 to 1.",
        "higher",
    ),
    "hit_rate": Definition("Hit rate", "1 with at least one hit, else 0. 0 to 1.", "higher"),
}
"""Metrics with one value per user. Means run over all users who have relevant items."""

NEW_GROUPS = ("new_items", "among_new")
"""Names of the two ways to measure items that the model was not fitted on.

new_items: in lists of the whole catalogue. among_new: in lists of such items alone.
"""

BEYOND_ACCURACY = {
    "coverage": Definition(
        "Coverage",
        "Share of the catalogue that is recommended to at least one user. 0 to 1.",
        "higher",
    ),
    "novelty": Definition(
        "Novelty",
        "Mean over all recommendations of -log2(share of the training users who have the item), "
        "in bits. An item without training users counts as having one. 0 to log2(users).",
        "neither",
    ),
    "gini": Definition(
        "Gini",
        "Inequality of how often the items of the catalogue are recommended. 0 when all are "
        "recommended equally often, 1 - 1 / items when one item gets all recommendations.",
        "lower",
    ),
    "popularity_share": Definition(
        "Popularity share",
        "Share of the recommendations that are among the most popular training items. 0 to 1.",
        "neither",
    ),
}
"""Metrics with one value for the lists of all users together."""


def hits(items_BK: np.ndarray, users_B: np.ndarray, *, relevant: Interactions) -> np.ndarray:
    """Mark the recommended items that are relevant to their user.

    items_BK: item ids, NO_ITEM (-1) where a list is shorter. Returns (B, K) bool. NO_ITEM is never
    a hit.
    """
    user = np.broadcast_to(users_B[:, None], items_BK.shape)
    return relevant.contains(user, np.maximum(items_BK, 0)) & (items_BK >= 0)


def accuracy(hits_BK: np.ndarray, num_relevant_B: np.ndarray, *, k: int) -> dict[str, np.ndarray]:
    """Compute the metrics of ACCURACY at cut-off k for each user.

    hits_BK: bool, best rank first. Missing columns count as misses when there are fewer than k.
    num_relevant_B: number of relevant items of each user. Returns {metric: (B,) float64 in [0, 1]}.
    Raises ValueError for users without relevant items, because accuracy is not defined for them.
    """
    if (num_relevant_B <= 0).any():
        raise ValueError("users without relevant items have no accuracy: leave them out")
    hit = hits_BK[:, :k].astype(np.float64)
    width = hit.shape[1]
    rank = np.arange(1, width + 1)
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(num_relevant_B, k) - 1]
    found = hit.sum(1)
    first_hit = (hit > 0).argmax(1) + 1 if width else np.inf
    first_rank = np.where(found > 0, first_hit, np.inf)
    return {
        "precision": found / k,
        "recall": found / num_relevant_B,
        # a product and a sum per row, not hit @ discount: the order in which BLAS sums depends on
        # the number of rows
        "ndcg": (hit * discount[:width]).sum(1) / ideal,
        "mrr": 1 / first_rank,
        "map": (hit * np.cumsum(hit, 1) / rank).sum(1) / np.minimum(num_relevant_B, k),
        "hit_rate": (found > 0).astype(np.float64),
    }


def beyond_accuracy(
    items_BK: np.ndarray, *, train: Interactions, popular_I: np.ndarray
) -> dict[str, float]:
    """Compute the metrics of BEYOND_ACCURACY for the lists of all users.

    items_BK: item ids, NO_ITEM (-1) where a list is shorter. K is the cut-off.
    train: training pairs, which give each item's popularity.
    popular_I: bool, the items that count as popular (`glta.evaluation.groups.most_popular`).
    All values are 0 when nothing is recommended.
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
    """Measure the inequality of amounts (Gini 1912).

    amounts: (I,), none negative. Returns 0 when all are equal, and 1 - 1/I when one item has
    everything.

    The index is half the mean absolute difference of two amounts drawn at random, divided by their
    mean. Sorting the amounts gives it without a loop over pairs.
    """
    total = amounts.sum()
    if not total:
        return 0.0
    place = 2 * np.arange(1, amounts.size + 1) - amounts.size - 1
    return float((place * np.sort(amounts)).sum() / (amounts.size * total))
