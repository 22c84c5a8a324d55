"""Compare the top 50 of a whole catalogue with numpy's argpartition, implicit and faiss.

implicit and faiss take part where they are installed (extra `bench`). Memory is bounded. Only this
package has a rule for ties: the lower id comes first.
"""

# U users, I items, D embedding width
from __future__ import annotations

import importlib.util
import sys

import numpy as np
import torch

from benchmarks.timing import Row, child, clock, in_turns, report
from glta.data.interactions import Interactions
from glta.evaluation.ranking import dot_products, rank, rank_all

K, WIDTH, CATALOGUE = 50, 64, 100_000


def embeddings(num_users: int, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw normal embeddings (U, D) and (I, D), seeded."""
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal((size, WIDTH), np.float32) for size in (num_users, num_items))


def scorer(user: np.ndarray, item: np.ndarray):
    """Score as `glta.methods.shared.dot_product` does."""
    return lambda ids: dot_products(user[ids], item)


def nothing(num_users: int, num_items: int) -> Interactions:
    """Make interactions without pairs: no item is left out, as the rivals cannot leave out any."""
    return Interactions.of([], [], num_users, num_items)


def ours(user: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    no_pair = nothing(len(user), len(item))
    return rank_all(scorer(user, item), np.arange(len(user)), k=K, exclude=no_pair)


def with_numpy(
    user: np.ndarray, item: np.ndarray, block: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    lists, best = [], []
    for start in range(0, len(user), block):
        scores = user[start : start + block] @ item.T
        top = np.argpartition(scores, -K, axis=1)[:, -K:]
        values = np.take_along_axis(scores, top, 1)
        order = np.argsort(-values, axis=1)
        lists.append(np.take_along_axis(top, order, 1))
        best.append(np.take_along_axis(values, order, 1))
    return np.concatenate(lists), np.concatenate(best)


def with_implicit(user: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from implicit.cpu.topk import topk

    return topk(item, user, K, num_threads=torch.get_num_threads())


def with_faiss(user: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(item.shape[1])
    index.add(item)
    best, lists = index.search(user, K)
    return lists, best


def rivals() -> dict:
    found = {"numpy argpartition": with_numpy}
    if importlib.util.find_spec("implicit"):
        found["implicit topk"] = with_implicit
    if importlib.util.find_spec("faiss"):
        found["faiss flat"] = with_faiss
    return found


def check(
    lists: np.ndarray, best: np.ndarray, other_lists: np.ndarray, other_best: np.ndarray, name: str
) -> None:
    """Raise AssertionError unless both have the same lists.

    Neighbours may be exchanged where two products differ in the last bit.
    """
    np.testing.assert_allclose(best, other_best, rtol=1e-4, err_msg=name)
    apart = lists != other_lists
    if apart.mean() > 1e-3:
        raise AssertionError(f"{name}: {apart.mean():.2%} of the places hold other items")


def whole(num_users: int, num_items: int) -> None:
    """Rank all users and print time and peak memory.

    Lists are only counted, because a stage too writes them block by block and keeps none.
    """
    user, item = embeddings(num_users, num_items)
    begin = clock()
    shown = sum(
        lists.size
        for _, lists, _ in rank(
            scorer(user, item),
            np.arange(num_users),
            k=K,
            exclude=nothing(num_users, num_items),
        )
    )
    report(seconds=clock() - begin, shown=shown)


def run(quick: bool) -> list[Row]:
    """Compare times on a part of the users, and check that the lists are equal.

    The ranking of all users is measured in a process of its own.
    """
    num_users, num_items = (30, 500) if quick else (1000, CATALOGUE)
    user, item = embeddings(num_users, num_items)
    contestants = {"ours": ours, **rivals()}
    results = {name: one(user, item) for name, one in contestants.items()}
    for name, result in results.items():
        check(*results["ours"], *result, name)
    seconds = in_turns(
        {name: lambda one=one: one(user, item) for name, one in contestants.items()},
        rounds=2 if quick else 3,
        warm_up=0,
    )
    own = seconds.pop("ours")
    best = min(seconds, key=seconds.get)
    case = f"top {K} of {num_items:,} items, {num_users:,} users"
    rows = [
        Row(case, own, name, seconds[name], target=0.9 if name == best and not quick else None)
        for name in seconds
    ]
    made = child("benchmarks.ranking", *(100, 500) if quick else (100_000, CATALOGUE))
    note = f"{made['shown'] // K:,} users in {made['seconds']:.0f} s"
    return [
        *rows,
        Row(
            "peak memory of ranking",
            made["peak_bytes"] / 2**30,
            "1 GiB",
            1,
            target=1,
            unit="GiB",
            note=note,
        ),
    ]


if __name__ == "__main__":
    whole(*map(int, sys.argv[1:]))
