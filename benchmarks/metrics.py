"""Compare accuracy metrics of the same lists with ranx, if it is installed (extra `bench`)."""

# U users, I items, K list length
from __future__ import annotations

import importlib.util

import numpy as np

from benchmarks.graph import power_law_graph
from benchmarks.timing import Row, in_turns
from glta.data.interactions import Interactions
from glta.evaluation.metrics import accuracy, hits

K = 20
METRICS = ("precision", "recall", "ndcg", "mrr", "map", "hit_rate")


def run(quick: bool) -> list[Row]:
    """Compute six metrics at 20 for every user. Values must agree to six digits.

    Returns no rows without ranx. ranx divides MAP by the number of relevant items, this package by
    min(K, relevant items), so the values of ranx are rescaled before the comparison.
    """
    if not importlib.util.find_spec("ranx"):
        return []
    from ranx import Qrels, Run, evaluate

    num_users, num_items = (200, 300) if quick else (20_000, 10_000)
    relevant = power_law_graph(num_users, num_items, 10 * num_users)
    users = np.flatnonzero(relevant.user_degree)
    lists = np.stack([made_up_list(relevant, user) for user in users])
    size = relevant.user_degree[users]

    def ours() -> dict[str, np.ndarray]:
        return accuracy(hits(lists, users, relevant=relevant), size, k=K)

    truth = {
        str(user): dict.fromkeys(map(str, relevant.items_of(user).tolist()), 1) for user in users
    }
    score = np.arange(K, 0.0, -1.0).tolist()
    ranked = {
        str(user): dict(zip(map(str, row.tolist()), score, strict=True))
        for user, row in zip(users, lists, strict=True)
    }
    qrels, ranking = Qrels(truth), Run(ranked)

    def theirs() -> dict[str, np.ndarray]:
        return evaluate(qrels, ranking, [f"{name}@{K}" for name in METRICS], return_mean=False)

    own, rival = ours(), theirs()
    rival[f"map@{K}"] = (
        rival[f"map@{K}"] * (size / np.minimum(size, K))[np.argsort(users.astype(str))]
    )
    for name in METRICS:
        np.testing.assert_allclose(
            own[name][np.argsort(users.astype(str))], rival[f"{name}@{K}"], atol=1e-6, err_msg=name
        )
    seconds = in_turns({"ours": ours, "ranx": theirs}, rounds=2 if quick else 7)
    case = f"six metrics at {K}, {len(users):,} users"
    note = "equal to 1e-6; ranx's own containers and compiled code were made before"
    return [
        Row(
            case,
            1e3 * seconds["ours"],
            "ranx",
            1e3 * seconds["ranx"],
            target=None if quick else 1,
            unit="ms",
            note=note,
        )
    ]


def made_up_list(relevant: Interactions, user: int) -> np.ndarray:
    """Draw K distinct items for a user, up to five of them relevant."""
    rng = np.random.default_rng(user)
    own = rng.permutation(relevant.items_of(user))[:5]
    return rng.permutation(np.union1d(own, rng.choice(relevant.num_items, K, replace=False)))[:K]
