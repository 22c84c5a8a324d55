"""Measure the lists of one method on one split: accuracy, beyond accuracy, and both within
groups.
"""

# U users, I items, B users with relevant items, K list length
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
    popularity_groups,
    restrict,
)
from glta.evaluation.metrics import NEW_GROUPS, accuracy, beyond_accuracy, hits
from glta.evaluation.settings import EvaluateSettings

POPULARITY_GROUPS = 5


class Evaluation(NamedTuple):
    metrics: dict[
        str, float
    ]  # flat: ndcg@20, coverage@20, cold_users/ndcg@20, new_items/recall@20, valid/ndcg@20
    # user, num_train, num_test, then one column an accuracy metric of the test lists; see
    # `new_values`
    users: pl.DataFrame
    groups: dict[str, dict[str, int]]  # size of cold and warm groups
    popularity: list[
        dict[str, Any]
    ]  # most popular items first: items, interactions, most, least, test, recall@K


def evaluate(
    prepared: Prepared,
    valid: pl.DataFrame,
    test: pl.DataFrame,
    options: EvaluateSettings,
    new: pl.DataFrame | None = None,
) -> Evaluation:
    """Measure validation and test lists. valid, test: columns user, rank (1 is best), item.

    new: test lists of items without training users alone; None where no test pair has such an item.

    Means run over users with test items. Groups without any test item have no metrics. Raises
    ValueError for lists that show an item the user was known to have, or that belong to other data.
    """
    cutoffs = sorted(options.cutoffs)
    train = prepared.train
    users_B, items_BK = read_lists(test, prepared.test, prepared.seen, cutoffs[-1])
    values = user_metrics(users_B, items_BK, prepared.test, cutoffs)
    metrics = means(values)

    popular_I = most_popular(train.item_degree, options.popular_share)
    for k in cutoffs:
        metrics |= {
            f"{name}@{k}": v
            for name, v in beyond_accuracy(items_BK[:, :k], train, popular_I).items()
        }

    cold_B = train.user_degree[users_B] <= options.cold_user_items
    cold_I = train.item_degree <= options.cold_item_users
    groups = {}
    for name, rows in (("cold_users", cold_B), ("warm_users", ~cold_B)):
        groups[name] = {
            "users": int(rows.sum()),
            "pairs": int(prepared.test.user_degree[users_B[rows]].sum()),
        }
        metrics |= means({key: v[rows] for key, v in values.items()}, f"{name}/")
    for name, member_I in (
        ("cold_items", cold_I),
        ("warm_items", ~cold_I),
        ("new_items", prepared.new_items),
    ):
        groups[name] = {
            "items": int(member_I.sum()),
            "pairs": int(member_I[prepared.test.item].sum()),
        }
        for k in cutoffs:
            of_group = item_group_accuracy(items_BK, users_B, prepared.test, member_I, k)
            metrics |= {f"{name}/{key}@{k}": v for key, v in of_group.items()}

    users_V, items_VK = read_lists(valid, prepared.valid, train, cutoffs[-1])
    metrics |= means(user_metrics(users_V, items_VK, prepared.valid, cutoffs), "valid/")
    degrees = {
        "num_train": train.user_degree[users_B],
        "num_test": prepared.test.user_degree[users_B],
    }
    frame = pl.DataFrame(
        {"user": users_B.astype(np.int32)}
        | {k: v.astype(np.int32) for k, v in degrees.items()}
        | values
    )
    if new is not None:
        of_new = new_values(prepared, users_B, items_BK, new, cutoffs)
        metrics |= {
            name: float(of_new[name].mean())
            for name in of_new.columns
            if name.startswith("among_new/")
        }
        frame = frame.join(of_new, on="user", how="left", maintain_order="left")
    return Evaluation(metrics, frame, groups, _popularity(users_B, items_BK, prepared, cutoffs))


def read_lists(
    frame: pl.DataFrame, relevant: Interactions, known: Interactions, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Turn list rows into users (B,), ascending, all those with relevant items, and items (B, k),
    -1 where a list is shorter.

    known: what was masked when the lists were made. Raises ValueError when lists and data do not
    belong together.
    """
    users_B = np.flatnonzero(relevant.user_degree)
    user, rank, item = (
        frame[name].to_numpy().astype(np.int64) for name in ("user", "rank", "item")
    )
    if not np.isin(user, users_B).all() or (item >= relevant.num_items).any():
        raise ValueError(
            "the lists name users or items that the prepared data has not: make the "
            "recommendations again"
        )
    if known.contains(user, np.maximum(item, 0))[item >= 0].any():
        raise ValueError(
            "the lists show items that their user was known to have: make the recommendations again"
        )
    items_BK = np.full((users_B.size, k), -1, np.int64)
    shown = rank <= k
    items_BK[np.searchsorted(users_B, user[shown]), rank[shown] - 1] = item[shown]
    return users_B, items_BK


def user_metrics(
    users_B: np.ndarray, items_BK: np.ndarray, relevant: Interactions, cutoffs: list[int]
) -> dict[str, np.ndarray]:
    """Compute every accuracy metric at every cut-off, each (B,), named like ndcg@20."""
    hits_BK, num_relevant_B = hits(items_BK, users_B, relevant), relevant.user_degree[users_B]
    return {
        f"{name}@{k}": v
        for k in cutoffs
        for name, v in accuracy(hits_BK, num_relevant_B, k).items()
    }


def new_values(
    prepared: Prepared,
    users_B: np.ndarray,
    items_BK: np.ndarray,
    new: pl.DataFrame,
    cutoffs: list[int],
) -> pl.DataFrame:
    """Measure recall and NDCG of new items for each user who has one in test: columns user, then
    GROUP/METRIC@K.

    GROUP: see NEW_GROUPS. users_B, items_BK: lists of the whole catalogue; new: lists of new items
    alone.
    """
    relevant = restrict(prepared.test, prepared.new_items)
    users_N, items_NK = read_lists(new, relevant, prepared.seen, cutoffs[-1])
    lists = zip(NEW_GROUPS, (items_BK[np.searchsorted(users_B, users_N)], items_NK), strict=True)
    values = {
        f"{group}/{k}": v
        for group, items in lists
        for k, v in user_metrics(users_N, items, relevant, cutoffs).items()
    }
    kept = {
        name: v
        for name, v in values.items()
        if name.partition("/")[2].startswith(("recall@", "ndcg@"))
    }
    return pl.DataFrame({"user": users_N.astype(np.int32)} | kept)


def means(values: dict[str, np.ndarray], prefix: str = "") -> dict[str, float]:
    """Average over users; no users, no entry."""
    return {prefix + name: float(v.mean()) for name, v in values.items() if v.size}


def _popularity(
    users_B: np.ndarray, items_BK: np.ndarray, prepared: Prepared, cutoffs: list[int]
) -> list[dict[str, Any]]:
    degree = prepared.train.item_degree
    group_I = popularity_groups(degree, POPULARITY_GROUPS)
    tested = np.bincount(group_I[prepared.test.item], minlength=POPULARITY_GROUPS)
    recall = {
        f"recall@{k}": group_recall(
            items_BK[:, :k], users_B, prepared.test, group_I, POPULARITY_GROUPS
        )
        for k in cutoffs
    }
    rows = []
    for group in range(POPULARITY_GROUPS):
        degrees = degree[group_I == group]
        if degrees.size:
            size = {
                "items": degrees.size,
                "interactions": int(degrees.sum()),
                "test": int(tested[group]),
            }
            limits = {"most": int(degrees.max()), "least": int(degrees.min())}
            rows.append(size | limits | {key: v[group] for key, v in recall.items()})
    return rows
