"""Measure the lists of one method on one split: accuracy, beyond accuracy, and within groups."""

# U users, I items, B users with relevant items, N users with relevant new items, K list length
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.groups import (
    group_recall,
    item_group_accuracy,
    most_popular,
    new_item_pairs,
    new_items,
    popularity_groups,
    restrict,
)
from glta.evaluation.metrics import NEW_GROUPS, accuracy, beyond_accuracy, hits
from glta.evaluation.settings import EvaluateSettings

POPULARITY_GROUPS = 5


class Measurement(NamedTuple):
    """Hold all numbers of one method on one split.

    metrics: values by name: ndcg@20, coverage@20, cold_users/ndcg@20, new_items/recall@20,
        valid/ndcg@20, ...
    users: columns user, num_train, num_test, then one column for each accuracy metric of the test
        lists, then the columns of `new_item_values`, null for users without a new item in test.
    groups: number of users or items, and of test pairs, of each cold, warm and new group.
    popularity: one dictionary for each group of items, the most popular first. Its keys: items,
        interactions (training pairs), test (test pairs), most and least (the largest and smallest
        number of training users of an item), recall@K.
    """

    metrics: dict[str, float]
    users: pl.DataFrame
    groups: dict[str, dict[str, int]]
    popularity: list[dict[str, Any]]


def measure_lists(
    prepared: Prepared,
    *,
    valid: pl.DataFrame,
    test: pl.DataFrame,
    fitted: Interactions,
    options: EvaluateSettings,
    new: pl.DataFrame | None = None,
) -> Measurement:
    """Measure the validation and test lists of one method.

    valid, test: columns user, rank (1 is best) and item. fitted: the pairs that the model of the
    test lists was fitted on. Items without users there are new. Cold users and items, and popular
    items, are those of the training pairs. new: test lists of new items alone; None where no test
    pair has such an item.

    Means run over users with test items. Groups without any test item have no metrics. Raises
    ValueError for lists that show an item the user was known to have, or that belong to other data.
    """
    cutoffs = sorted(options.cutoffs)
    train = prepared.train
    users_B, items_BK = read_lists(test, prepared.test, known=prepared.seen, k=cutoffs[-1])
    values = user_metrics(users_B, items_BK, relevant=prepared.test, cutoffs=cutoffs)
    metrics = means(values)

    popular_I = most_popular(train.item_degree, options.popular_share)
    for k in cutoffs:
        beyond = beyond_accuracy(items_BK[:, :k], train=train, popular_I=popular_I)
        metrics |= {f"{name}@{k}": value for name, value in beyond.items()}

    groups: dict[str, dict[str, int]] = {}
    cold_B = train.user_degree[users_B] <= options.cold_user_items
    for group, rows in {"cold_users": cold_B, "warm_users": ~cold_B}.items():
        num_pairs = int(prepared.test.user_degree[users_B[rows]].sum())
        groups[group] = {"users": int(rows.sum()), "pairs": num_pairs}
        of_group = {name: of_users[rows] for name, of_users in values.items()}
        metrics |= means(of_group, prefix=f"{group}/")

    cold_I = train.item_degree <= options.cold_item_users
    item_groups = {"cold_items": cold_I, "warm_items": ~cold_I, "new_items": new_items(fitted)}
    for group, member_I in item_groups.items():
        num_pairs = int(member_I[prepared.test.item].sum())
        groups[group] = {"items": int(member_I.sum()), "pairs": num_pairs}
        for k in cutoffs:
            within = item_group_accuracy(
                items_BK, users_B, relevant=prepared.test, member_I=member_I, k=k
            )
            metrics |= {f"{group}/{name}@{k}": value for name, value in within.items()}

    users_V, items_VK = read_lists(valid, prepared.valid, known=train, k=cutoffs[-1])
    valid_values = user_metrics(users_V, items_VK, relevant=prepared.valid, cutoffs=cutoffs)
    metrics |= means(valid_values, prefix="valid/")

    degrees = {
        "user": users_B,
        "num_train": train.user_degree[users_B],
        "num_test": prepared.test.user_degree[users_B],
    }
    users = pl.DataFrame({name: ids.astype(np.int32) for name, ids in degrees.items()} | values)
    if new is not None:
        new_users = new_item_values(
            prepared, users_B, items_BK=items_BK, new=new, cutoffs=cutoffs, fitted=fitted
        )
        # the means of new_items/... are those of the item group above
        metrics |= new_users.select(pl.col("^among_new/.*$").mean()).row(0, named=True)
        users = users.join(new_users, on="user", how="left", maintain_order="left")
    popularity = popularity_table(prepared, users_B, items_BK=items_BK, cutoffs=cutoffs)
    return Measurement(metrics, users, groups, popularity)


def read_lists(
    lists: pl.DataFrame, relevant: Interactions, *, known: Interactions, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Turn rows of lists into arrays, one row for each user who has relevant items.

    lists: columns user, rank (1 is best) and item. known: the pairs that were masked when the lists
    were made. Returns users (B,), ascending, and items (B, k), which hold NO_ITEM (-1) where a list
    is shorter. Raises ValueError when lists and data do not belong together, and for lists with a
    repeated rank or item.
    """
    users_B = np.flatnonzero(relevant.user_degree)
    user, rank, item = (
        lists[name].to_numpy().astype(np.int64) for name in ("user", "rank", "item")
    )
    if not np.isin(user, users_B).all() or (item >= relevant.num_items).any():
        raise ValueError(
            "the lists name users or items that the prepared data does not have: make the "
            "recommendations again"
        )
    shown = item >= 0
    if known.contains(user[shown], item[shown]).any():
        raise ValueError(
            "the lists show items that their user was known to have: make the recommendations again"
        )
    if (rank < 1).any() or _repeated(user, rank) or _repeated(user[shown], item[shown]):
        raise ValueError(
            "the lists have a rank below 1, or a rank or an item twice for one user: make the "
            "recommendations again"
        )
    items_BK = np.full((users_B.size, k), -1, np.int64)
    within = rank <= k
    items_BK[np.searchsorted(users_B, user[within]), rank[within] - 1] = item[within]
    return users_B, items_BK


def _repeated(user: np.ndarray, value: np.ndarray) -> bool:
    """Tell whether a pair of user and value occurs more than once. value: none negative."""
    if not value.size:
        return False
    key = np.sort(user * (value.max() + 1) + value)
    return bool((key[1:] == key[:-1]).any())


def user_metrics(
    users_B: np.ndarray, items_BK: np.ndarray, *, relevant: Interactions, cutoffs: list[int]
) -> dict[str, np.ndarray]:
    """Compute every accuracy metric at every cut-off for each user.

    Returns {"ndcg@20": (B,) float64, ...}.
    """
    hits_BK = hits(items_BK, users_B, relevant=relevant)
    num_relevant_B = relevant.user_degree[users_B]
    values: dict[str, np.ndarray] = {}
    for k in cutoffs:
        at_k = accuracy(hits_BK, num_relevant_B, k=k)
        values |= {f"{name}@{k}": of_users for name, of_users in at_k.items()}
    return values


def new_item_values(
    prepared: Prepared,
    users_B: np.ndarray,
    *,
    items_BK: np.ndarray,
    new: pl.DataFrame,
    cutoffs: list[int],
    fitted: Interactions,
) -> pl.DataFrame:
    """Measure recall and NDCG of new items for each user who has one in test.

    users_B, items_BK: lists of the whole catalogue. new: lists of new items alone, which users
    without items in `fitted` do not have (`new_item_pairs`). Returns the columns user and
    GROUP/METRIC@K with the groups of NEW_GROUPS.
    """
    whole, among = NEW_GROUPS
    relevant = restrict(prepared.test, new_items(fitted))
    users_N = np.flatnonzero(relevant.user_degree)
    found = {whole: (users_N, items_BK[np.searchsorted(users_B, users_N)])}
    pairs = new_item_pairs(prepared.test, fitted=fitted)
    found[among] = read_lists(new, pairs, known=prepared.seen, k=cutoffs[-1])
    tables = []
    for group, (users_M, items_MK) in found.items():
        values = user_metrics(users_M, items_MK, relevant=relevant, cutoffs=cutoffs)
        columns = {
            f"{group}/{name}": of_users
            for name, of_users in values.items()
            if name.startswith(("recall@", "ndcg@"))
        }
        tables.append(pl.DataFrame({"user": users_M.astype(np.int32)} | columns))
    return tables[0].join(tables[1], on="user", how="left", maintain_order="left")


def means(values: dict[str, np.ndarray], *, prefix: str = "") -> dict[str, float]:
    """Average each metric over users; a metric without users has no entry."""
    return {
        prefix + name: float(of_users.mean()) for name, of_users in values.items() if of_users.size
    }


def popularity_table(
    prepared: Prepared, users_B: np.ndarray, *, items_BK: np.ndarray, cutoffs: list[int]
) -> list[dict[str, Any]]:
    """Measure recall within groups of items by popularity; see `Measurement.popularity`."""
    degree = prepared.train.item_degree
    group_I = popularity_groups(degree, POPULARITY_GROUPS)
    tested = np.bincount(group_I[prepared.test.item], minlength=POPULARITY_GROUPS)
    recall = {
        f"recall@{k}": group_recall(
            items_BK[:, :k],
            users_B,
            relevant=prepared.test,
            group_I=group_I,
            num_groups=POPULARITY_GROUPS,
        )
        for k in cutoffs
    }
    rows = []
    for group in range(POPULARITY_GROUPS):
        degrees = degree[group_I == group]
        if not degrees.size:
            continue
        row: dict[str, Any] = {
            "items": degrees.size,
            "interactions": int(degrees.sum()),
            "test": int(tested[group]),
            "most": int(degrees.max()),
            "least": int(degrees.min()),
        }
        rows.append(row | {name: by_group[group] for name, by_group in recall.items()})
    return rows
