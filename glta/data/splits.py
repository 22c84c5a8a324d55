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
    user: np.ndarray,
    valid_share: float,
    test_share: float,
    *,
    fixed: np.random.Generator,
    generator: np.random.Generator,
) -> np.ndarray:
    """Split each user's items at random: (E,) of TRAIN, VALID, TEST.

    The shares are met in expectation for every length of history. Of a user's n items,
    floor(test_share n + u) are test items, and floor((valid_share + test_share) n + u) are test and
    validation items together, where u is a random number of the user, uniform in [0, 1). So each
    number is less than one from its share. Fixed rounding would leave short histories without
    validation items: their users would have no part in the choice of models.
    Every user keeps a training item. This takes precedence over the shares where the training share
    of a history is less than one item. With the default shares, this concerns users with one item.
    user: (E,) dense ids, sorted.
    fixed: decides u and the test items. generator: decides which of the other items are for
    validation. Splits with equal `fixed` and different `generator` have the same test items.
    """
    size = np.bincount(user)
    luck = fixed.random(size.size)
    held_out = _rounded(size, valid_share + test_share, luck)
    test = np.minimum(_rounded(size, test_share, luck), held_out)
    is_test = _shuffled_rank(user, fixed) < test[user]
    part = np.where(is_test, TEST, TRAIN)
    rest = np.flatnonzero(~is_test)
    is_valid = _shuffled_rank(user[rest], generator) < (held_out - test)[user[rest]]
    part[rest[is_valid]] = VALID
    return part


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


def global_time(time: np.ndarray, valid_share: float, test_share: float) -> np.ndarray:
    """Split by time: the last test_share is for test, the valid_share before it for validation.

    Both are shares of all interactions. Interactions with equal times are in the same part. So the
    shares are met as nearly as whole times allow. No training pair is as late as a validation pair,
    and no validation pair is as late as a test pair.
    time: (E,) time stamps, not in order. Returns (E,) of TRAIN, VALID, TEST.
    """
    ascending = np.sort(time)
    # a cut is possible before each first pair of a time
    possible = np.flatnonzero(np.diff(ascending, prepend=ascending[:1] - 1))

    def part_from(share: float) -> np.ndarray:
        """Mark the pairs of the last `share`: (E,) bool. Of two cuts as near, the earlier."""
        wanted = time.size - round(time.size * share)
        cut = possible[np.argmin(np.abs(possible - wanted))]
        return time >= ascending[cut]

    held_out = part_from(valid_share + test_share)
    return np.where(part_from(test_share), TEST, np.where(held_out, VALID, TRAIN))


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

    Of a user's n items, floor(target_share n + u) are chosen, with a random u of the user, uniform
    in [0, 1). So the share is met in expectation. One item of each user is never chosen.
    user: (E,) sorted.
    """
    size = np.bincount(user)
    chosen = _rounded(size, target_share, generator.random(size.size))
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


def _rounded(size: np.ndarray, share: float, luck: np.ndarray) -> np.ndarray:
    """Round shares of whole numbers up or down at random, to at most size - 1: (U,) int64.

    size: (U,) items of each user. luck: (U,), uniform in [0, 1). The expected value is share * size
    where the limit does not count.
    """
    return np.minimum(np.floor(share * size + luck).astype(np.int64), np.maximum(size - 1, 0))


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
