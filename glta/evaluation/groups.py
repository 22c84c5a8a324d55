"""Form groups of users and items by their amount of training data, and measure within them."""

# U users, I items, B users of the lists, K list length
from __future__ import annotations

import numpy as np

from glta.data.interactions import Interactions
from glta.evaluation.metrics import accuracy, hits


def by_popularity(item_degree: np.ndarray) -> np.ndarray:
    """Order items by their number of training users, highest first.

    item_degree: (I,) training users of each item. Returns (I,) item ids. Among equal items the
    lower id comes first.
    """
    return np.argsort(-item_degree, kind="stable")


def most_popular(item_degree: np.ndarray, share: float) -> np.ndarray:
    """Mark the most popular items.

    item_degree: (I,) training users of each item. share: the part of the catalogue to mark, in
    (0, 1]. Returns (I,) bool with ceil(share * I) true values. Among equal items the lower id is
    marked first.
    """
    # in floating point 0.1 * 30 is slightly above 3, so round before ceil
    num_popular = int(np.ceil(round(share * item_degree.size, 9)))
    popular = np.zeros(item_degree.size, bool)
    popular[by_popularity(item_degree)[:num_popular]] = True
    return popular


def popularity_groups(item_degree: np.ndarray, num_groups: int = 5) -> np.ndarray:
    """Divide the catalogue into groups with about equally many training interactions.

    item_degree: (I,) training users of each item. Returns (I,) group numbers. Group 0 holds the few
    most popular items. The last group holds the long tail, with the items that have no training
    interaction. A group is empty when one item alone has more interactions than a group's share.
    """
    order = by_popularity(item_degree)
    before = np.cumsum(item_degree[order]) - item_degree[order]
    total = max(int(item_degree.sum()), 1)
    group = np.empty(item_degree.size, np.int64)
    group[order] = np.minimum(before * num_groups // total, num_groups - 1)
    return group


def restrict(pairs: Interactions, member_I: np.ndarray) -> Interactions:
    """Keep the pairs whose item belongs to a group.

    member_I: (I,) bool, true for the items of the group.
    """
    keep = member_I[pairs.item]
    return Interactions(pairs.user[keep], pairs.item[keep], pairs.num_users, pairs.num_items)


def new_items(fitted: Interactions) -> np.ndarray:
    """Mark the items that a model does not know: only their item features describe them.

    fitted: the pairs that the model was fitted on. Returns (I,) bool.
    """
    return fitted.item_degree == 0


def new_item_pairs(test: Interactions, *, fitted: Interactions) -> Interactions:
    """Return the test pairs of new items, of users that the model knows.

    Lists of new items alone are compared for these users. For others a method scores by its initial
    weights, if at all, and every method recommends the most popular items
    (`glta/methods/shared/without_history.py`), of which none is new.
    fitted: the pairs that the model of the test lists was fitted on.
    """
    pairs = restrict(test, new_items(fitted))
    keep = fitted.user_degree[pairs.user] > 0
    return Interactions(pairs.user[keep], pairs.item[keep], pairs.num_users, pairs.num_items)


def item_group_accuracy(
    items_BK: np.ndarray,
    users_B: np.ndarray,
    *,
    relevant: Interactions,
    member_I: np.ndarray,
    k: int,
) -> dict[str, float]:
    """Measure recall and NDCG at k when only the items of one group count as relevant.

    The lists are not changed. items_BK: recommended items, best first. relevant: test pairs of all
    items. member_I: (I,) bool, true for the items of the group. Returns {"recall": value, "ndcg":
    value}, each in [0, 1], as means over the users who have a relevant item in the group. Returns
    an empty dictionary when no user has one.
    """
    of_group = restrict(relevant, member_I)
    num_relevant = of_group.user_degree[users_B]
    rows = num_relevant > 0
    if not rows.any():
        return {}
    hits_BK = hits(items_BK[rows, :k], users_B[rows], relevant=of_group)
    values = accuracy(hits_BK, num_relevant[rows], k=k)
    return {name: float(values[name].mean()) for name in ("recall", "ndcg")}


def group_recall(
    items_BK: np.ndarray,
    users_B: np.ndarray,
    *,
    relevant: Interactions,
    group_I: np.ndarray,
    num_groups: int,
) -> list[float | None]:
    """Measure for each group of items which share of its relevant pairs is in the lists.

    items_BK: recommended items. relevant: test pairs. group_I: (I,) group number of each item.
    Returns one value in [0, 1] per group, None for a group without relevant pairs.

    The share is counted over pairs and not averaged over users, because most users have no relevant
    item in most groups.
    """
    hit_items = items_BK[hits(items_BK, users_B, relevant=relevant)]
    found = np.bincount(group_I[hit_items], minlength=num_groups)
    total = np.bincount(group_I[relevant.item], minlength=num_groups)
    return [float(f / t) if t else None for f, t in zip(found, total, strict=True)]
