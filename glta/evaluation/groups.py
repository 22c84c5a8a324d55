"""Groups of users and items by how much training data they have, and accuracy within them."""

# U users, I items, E relevant pairs, B users of the lists, K list length
from __future__ import annotations

import numpy as np

from glta.data.interactions import Interactions
from glta.evaluation.metrics import accuracy, hits


def by_popularity(item_degree: np.ndarray) -> np.ndarray:
    """Order items by training users, most first; among equals the lower id comes first.

    Returns (I,) item ids.
    """
    return np.argsort(-item_degree, kind="stable")


def most_popular(item_degree: np.ndarray, share: float) -> np.ndarray:
    """Mark the most popular items.

    Returns (I,) bool with ceil(share * I) true; ties go to the lower id.
    """
    # rounding first: 0.1 * 30 is a little more than 3 in floating point
    num = int(np.ceil(round(share * item_degree.size, 9)))
    popular = np.zeros(item_degree.size, bool)
    popular[by_popularity(item_degree)[:num]] = True
    return popular


def popularity_groups(item_degree: np.ndarray, num_groups: int = 5) -> np.ndarray:
    """Cut the catalogue into groups that hold about equally many training interactions.

    Group 0 has the most popular items, few of them; the last group is the long tail and includes
    items without any interaction. Returns (I,) group numbers; a group is empty when one item alone
    fills more than its share.
    """
    order = by_popularity(item_degree)
    before = np.cumsum(item_degree[order]) - item_degree[order]
    group = np.empty(item_degree.size, np.int64)
    group[order] = np.minimum(before * num_groups // max(int(item_degree.sum()), 1), num_groups - 1)
    return group


def restrict(pairs: Interactions, member_I: np.ndarray) -> Interactions:
    """Keep the pairs whose item is a member. member_I: (I,) bool."""
    keep = member_I[pairs.item]
    return Interactions(pairs.user[keep], pairs.item[keep], pairs.num_users, pairs.num_items)


def item_group_accuracy(
    items_BK: np.ndarray, users_B: np.ndarray, relevant: Interactions, member_I: np.ndarray, k: int
) -> dict[str, float]:
    """Measure recall and NDCG at k for a group of items: only its relevant items count, the lists
    stay as they are.

    Means over the users who have a relevant item of the group; empty when there are none. Both in
    [0, 1].
    """
    relevant = restrict(relevant, member_I)
    num_relevant = relevant.user_degree[users_B]
    rows = num_relevant > 0
    if not rows.any():
        return {}
    values = accuracy(hits(items_BK[rows, :k], users_B[rows], relevant), num_relevant[rows], k)
    return {name: float(values[name].mean()) for name in ("recall", "ndcg")}


def group_recall(
    items_BK: np.ndarray,
    users_B: np.ndarray,
    relevant: Interactions,
    group_I: np.ndarray,
    num_groups: int,
) -> list[float | None]:
    """Measure for each group of items which share of its relevant pairs is in the lists: [0, 1],
    None without pairs.

    Counted over pairs, not averaged over users, because most users have no relevant item in most
    groups.
    """
    found = np.where(hits(items_BK, users_B, relevant), items_BK, -1)
    found = np.bincount(group_I[found[found >= 0]], minlength=num_groups)
    total = np.bincount(group_I[relevant.item], minlength=num_groups)
    return [float(f / t) if t else None for f, t in zip(found, total, strict=True)]
