"""Split one set of interactions into training, validation and test."""

# E interactions, U users, I items
from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import polars as pl

from glta.io.parts import TEST, TRAIN, VALID


def random_split(
    user: np.ndarray, valid_share: float, test_share: float, generator: np.random.Generator
) -> np.ndarray:
    """Split each user's items at random: (E,) of TRAIN, VALID, TEST.

    user: (E,) dense ids, sorted.
    Of a user's n items, ceil((1 - valid_share - test_share) n) are training items. So every user
    has a training item. Of the r others, r * test_share / (valid_share + test_share) are test
    items, rounded to the nearest whole number, halves up. The rest are validation items.
    With shares 0.1 and 0.2, 5 items give 4 + 0 + 1 (training, validation, test), 7 items give
    5 + 1 + 1, and 10 items give 7 + 1 + 2.
    """
    size = np.bincount(user)
    # Without the small number, 10 * (1 - 0.1 - 0.2) is a little more than 7.
    train = np.ceil(size * (1 - valid_share - test_share) - 1e-9).astype(np.int64)
    test = np.floor((size - train) * test_share / (valid_share + test_share) + 0.5 + 1e-9).astype(
        np.int64
    )
    rank = _shuffled_rank(user, generator)
    return np.where(rank < train[user], TRAIN, np.where(rank < (train + test)[user], TEST, VALID))


def leave_last_out(user: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Take each user's last item for test and the one before for validation.

    user: (E,) sorted. order: (E,) distinct, ascending with time. Returns (E,) of TRAIN, VALID,
    TEST. A user with two items has no validation item. A user with one item has only that training
    item.
    """
    size = np.bincount(user)[user]
    from_end = size - 1 - rank_within(user, order)
    return np.where(
        (from_end == 0) & (size >= 2), TEST, np.where((from_end == 1) & (size >= 3), VALID, TRAIN)
    )


def global_time(order: np.ndarray, valid_share: float, test_share: float) -> np.ndarray:
    """Split by time: the last test_share is for test, the valid_share before it for validation.

    Both are shares of all interactions. order: (E,) distinct, ascending with time. Returns (E,) of
    TRAIN, VALID, TEST.
    """
    position = np.empty(order.size, np.int64)
    position[np.argsort(order)] = np.arange(order.size)
    test = round(order.size * test_share)
    valid = round(order.size * valid_share)
    return np.where(
        position >= order.size - test,
        TEST,
        np.where(position >= order.size - test - valid, VALID, TRAIN),
    )


def given(
    part: np.ndarray, user: np.ndarray, valid_share: float, generator: np.random.Generator
) -> np.ndarray:
    """Keep the parts of the source, and add a validation part where it has none.

    The added part is valid_share of each user's training items. Every user keeps a training item.
    part: (E,) of TRAIN, VALID, TEST. user: (E,) dense ids, sorted. Returns (E,) as part.
    """
    part = part.astype(np.int64)
    if (part == VALID).any():
        return part
    train = np.flatnonzero(part == TRAIN)
    part[train[choose_targets(user[train], valid_share, generator)]] = VALID
    return part


def choose_targets(
    user: np.ndarray, target_share: float, generator: np.random.Generator
) -> np.ndarray:
    """Choose a share of each user's training items at random: (E,) bool.

    The number is rounded to the nearest, halves up. One item of each user is never chosen.
    user: (E,) sorted.
    """
    size = np.bincount(user)
    chosen = np.minimum(
        np.floor(size * target_share + 0.5 + 1e-9).astype(np.int64), np.maximum(size - 1, 0)
    )
    return _shuffled_rank(user, generator) < chosen[user]


def choose_new_items(
    user: np.ndarray, item: np.ndarray, share: float, generator: np.random.Generator
) -> np.ndarray:
    """Choose a share of the items at random, to be new at test time: (I,) bool.

    The number is rounded to the nearest, halves up. Every user keeps an item that is not new: of a
    user's items, the one with the last place in the random order is never chosen.
    user, item: (E,).
    """
    num_items = int(item.max()) + 1
    wanted = int(np.floor(num_items * share + 0.5 + 1e-9))
    rank = generator.permutation(num_items)
    last = np.zeros(int(user.max()) + 1, np.int64)
    np.maximum.at(last, user, rank[item])
    return (rank < wanted) & ~np.isin(rank, last[np.unique(user)])


def core(
    user: np.ndarray, item: np.ndarray, user_core: int, item_core: int
) -> tuple[np.ndarray, int]:
    """Drop users with too few items and items with too few users, until none is left to drop.

    user, item: (E,) non-negative ids of distinct pairs. Returns (E,) bool, True for pairs that
    stay, and the number of passes. The order of dropping does not matter: the largest set that
    qualifies is unique.
    """
    keep = np.ones(user.size, bool)
    users = np.bincount(user)
    items = np.bincount(item)
    cuts = _cuts(user.size)

    def to_drop(few_users: np.ndarray, few_items: np.ndarray) -> np.ndarray:
        def find(span: slice) -> np.ndarray:
            return span.start + np.flatnonzero(
                keep[span] & (few_users[user[span]] | few_items[item[span]])
            )

        return np.concatenate(_side_by_side(find, cuts))

    passes = 0
    while True:
        passes += 1
        # two short arrays of bool say which users and items to drop; a pair is looked up in them,
        # and only the pairs dropped in this pass are counted again
        dropped = to_drop(users < user_core, items < item_core)
        if not dropped.size:
            return keep, passes
        keep[dropped] = False
        users -= np.bincount(user[dropped], minlength=users.size)
        items -= np.bincount(item[dropped], minlength=items.size)


def rank_within(group: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Return each element's place within its group by ascending key, from 0: (E,) int64.

    group: (E,) sorted, not negative. key: (E,) distinct, not negative.
    """
    if not group.size:
        return np.zeros(0, np.int64)
    size = np.bincount(group)
    end = np.cumsum(size)
    first = np.repeat(end - size, size)
    above = key.max() + 1
    rank = np.empty(group.size, np.int64)

    def place(span: slice) -> None:
        # one sort of numbers: ten times as fast as np.lexsort
        order = np.argsort(group[span] * above + key[span])
        rank[span.start + order] = np.arange(span.start, span.stop) - first[span]

    cuts = _cuts(group.size)
    # each cut moves to the end of a group, so that no group is in two spans
    _side_by_side(place, end[np.searchsorted(end, cuts)] * (cuts > 0))
    return rank


def _shuffled_rank(group: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return each element's place within its group in a random order, from 0."""
    # a permutation, unlike random numbers, never has two equal keys
    return rank_within(group, generator.permutation(group.size))


def _cuts(size: int) -> np.ndarray:
    """Return the ends of equal spans of `size` elements, one span for each thread of polars.

    The environment variable POLARS_MAX_THREADS sets the number of threads. The first end is 0.
    """
    return np.linspace(0, size, pl.thread_pool_size() + 1).astype(np.int64)


def _side_by_side(work: Callable[[slice], np.ndarray | None], cuts: np.ndarray) -> list:
    """Call `work` on the spans between cuts, each in its own thread. Returns the results in order.

    Threads do help here: numpy releases the interpreter's lock while it indexes and sorts.
    """
    spans = [slice(*ends) for ends in pairwise(cuts.tolist())]
    with ThreadPoolExecutor(len(spans)) as pool:
        return list(pool.map(work, spans))
