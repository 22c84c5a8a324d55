"""Accuracy of the same lists: this package against ranx, where it is installed (extra `bench`)."""

# U users, I items, K list length
from __future__ import annotations

import importlib.util

import numpy as np

from benchmarks.graph import power_law_graph
from benchmarks.measure import Row, in_turns
from glta.metrics import accuracy, hits

K = 20
NAMES = {"precision": "precision", "recall": "recall", "ndcg": "ndcg", "mrr": "mrr", "map": "map", "hit_rate": "hit_rate"}


def run(quick: bool) -> list[Row]:
    """Compute six metrics at 20 for every user; values must agree to six digits.

    ranx divides MAP by all relevant items, we by min(K, relevant items): its values are rescaled before the comparison.
    """
    num_users, num_items = (200, 300) if quick else (20_000, 10_000)
    relevant = power_law_graph(num_users, num_items, 10 * num_users)
    users = np.flatnonzero(relevant.user_degree)
    rng = np.random.default_rng(0)
    lists = np.stack([rng.choice(num_items // 10, K, replace=False) for _ in users])
    lists[:, ::3] = [np.resize(relevant.items_of(user), 7) for user in users]  # some are found
    lists = np.stack([row[np.sort(np.unique(row, return_index=True)[1])][:8] for row in lists if np.unique(row).size >= 8])
    users = users[: len(lists)]
    size = relevant.user_degree[users]

    def ours() -> dict[str, np.ndarray]:
        return accuracy(hits(lists, users, relevant), size, K)

    values = ours()
    if not importlib.util.find_spec("ranx"):
        return []
    from ranx import Qrels, Run, evaluate

    qrels = Qrels({str(user): dict.fromkeys(map(str, relevant.items_of(user).tolist()), 1) for user in users})
    run_ = Run(
        {
            str(user): {str(item): float(-place) for place, item in enumerate(row)}
            for user, row in zip(users, lists, strict=True)
        }
    )
    wanted = [f"{name}@{K}" for name in NAMES.values()]

    def theirs() -> dict[str, np.ndarray]:
        return evaluate(qrels, run_, wanted, return_mean=False)

    rival = theirs()
    order = np.argsort(users.astype(str))
    for name, label in NAMES.items():
        scale = size / np.minimum(size, K) if name == "map" else 1.0
        np.testing.assert_allclose(
            (values[name] / 1.0)[order],
            (rival[f"{label}@{K}"] * np.asarray(scale)[..., order] if name == "map" else rival[f"{label}@{K}"]),
            atol=1e-6,
            err_msg=name,
        )
    seconds = in_turns({"ours": ours, "ranx": theirs}, rounds=2 if quick else 7)
    note = "its compiled lists were made before; ours start from arrays"
    return [
        Row(
            f"six metrics at {K}, {len(users):,} users",
            1e3 * seconds["ours"],
            "ranx",
            1e3 * seconds["ranx"],
            None if quick else 1,
            "ms",
            note,
        )
    ]
