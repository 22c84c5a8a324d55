"""Who trains, who validates, who tests: cuts of one set of interactions."""

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
    """Cut each user's items at random. user: (E,) dense ids, sorted. Returns (E,) of TRAIN, VALID,
    TEST.

    Of n items, ceil((1 - valid_share - test_share) n) train, so small histories round up and
    everyone keeps one. Of the r others, r * test_share / (valid_share + test_share), rounded to the
    nearest with halves up, test; the rest validate. With shares 0.1 and 0.2: 5 items give 4 + 0 +
    1, 7 give 5 + 1 + 1, 10 give 7 + 1 + 2.
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
    """Test each user's last item and validate with the one before. user: (E,) sorted; order: (E,)
    distinct, by time.

    A user with two items has no validation item, a user with one has only that training item.
    """
    size = np.bincount(user)[user]
    from_end = size - 1 - rank_within(user, order)
    return np.where(
        (from_end == 0) & (size >= 2), TEST, np.where((from_end == 1) & (size >= 3), VALID, TRAIN)
    )


def global_time(order: np.ndarray, valid_share: float, test_share: float) -> np.ndarray:
    """Test the last test_share of all interactions, validate with the valid_share before.

    order: (E,) distinct, by time.
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
    """Keep the source's parts; where it has no validation part, take valid_share of each user's
    training items for it.

    part: (E,) of TRAIN, VALID, TEST. user: (E,) dense ids, sorted. Everyone keeps a training item.
    Returns (E,) as part.
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
    """Choose target_share of each user's training items, halves up, but leave each user one.

    user: (E,) sorted. (E,) bool.
    """
    size = np.bincount(user)
    chosen = np.minimum(
        np.floor(size * target_share + 0.5 + 1e-9).astype(np.int64), np.maximum(size - 1, 0)
    )
    return _shuffled_rank(user, generator) < chosen[user]


def choose_new_items(
    user: np.ndarray, item: np.ndarray, share: float, generator: np.random.Generator
) -> np.ndarray:
    """Choose a share of the items at random, halves up, to be new: nobody has them before test.
    user, item: (E,). (I,) bool.

    Where that would leave a user without any other item, the last one drawn of the user's items is
    not chosen after all.
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
    """Drop users and items with too few partners until none is left to drop.

    user, item: (E,) non-negative ids of distinct pairs. Returns (E,) bool, which pairs stay, and
    the number of passes; the largest set that qualifies is unique, so the order of dropping does
    not matter.
    """
    keep = np.ones(user.size, bool)
    users, items = np.bincount(user), np.bincount(item)
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
        # looked up in small tables of bits; only what is dropped is counted again
        dropped = to_drop(users < user_core, items < item_core)
        if not dropped.size:
            return keep, passes
        keep[dropped] = False
        users -= np.bincount(user[dropped], minlength=users.size)
        items -= np.bincount(item[dropped], minlength=items.size)


def rank_within(group: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Return each element's place, from 0, within its group by ascending key.

    group: sorted; keys: distinct, not negative.
    """
    if not group.size:
        return np.zeros(0, np.int64)
    size = np.bincount(group)
    end = np.cumsum(size)
    first, above = np.repeat(end - size, size), key.max() + 1
    rank = np.empty(group.size, np.int64)

    def place(span: slice) -> None:
        order = np.argsort(
            group[span] * above + key[span]
        )  # one sort of numbers: ten times as fast as lexsort
        rank[span.start + order] = np.arange(span.start, span.stop) - first[span]

    cuts = _cuts(group.size)
    _side_by_side(place, end[np.searchsorted(end, cuts)] * (cuts > 0))  # no group is in two spans
    return rank


def _shuffled_rank(group: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return each element's place within its group after shuffling; a permutation, so that no two
    keys are equal.
    """
    return rank_within(group, generator.permutation(group.size))


def _cuts(size: int) -> np.ndarray:
    """Cut so many elements into equal spans, one for each thread that polars has
    (POLARS_MAX_THREADS). Returns their ends.
    """
    return np.linspace(0, size, pl.thread_pool_size() + 1).astype(np.int64)


def _side_by_side(work: Callable[[slice], np.ndarray | None], cuts: np.ndarray) -> list:
    """Work on the spans between cuts in threads: numpy lets others run while it looks up and
    sorts.
    """
    spans = [slice(*ends) for ends in pairwise(cuts.tolist())]
    with ThreadPoolExecutor(len(spans)) as pool:
        return list(pool.map(work, spans))
