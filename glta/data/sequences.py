"""The interactions of one split in their order, in the one form that sequence methods take."""

# U users, E interactions, B windows, n items of a window
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl

from glta.data.interactions import Interactions

PADDING = -1
"""The item id of an empty place in a window."""

COLUMNS = ("user", "item", "timestamp", "position")


class History(NamedTuple):
    """Hold the interactions of one user, oldest first.

    item, position: (n,) int64. time: (n,) int64, or None where the dataset has no times.
    """

    item: np.ndarray
    position: np.ndarray
    time: np.ndarray | None


class Window(NamedTuple):
    """Hold the last n items of several histories, the newest in the last column.

    item: (B, n) int64, padded on the left. mask: (B, n) bool, True where there is an item.
    time: (B, n) int64, 0 where there is no item; None where the dataset has no times.
    """

    item: np.ndarray
    mask: np.ndarray
    time: np.ndarray | None


@dataclass(frozen=True)
class Sequences:
    """Hold the interactions of every user, oldest first.

    indptr: (U+1,) int64; the interactions of user u are indptr[u]:indptr[u+1] of the other arrays.
    item: (E,) int64, 0 <= item < num_items.
    position: (E,) int64, the place in the user's whole history, from 0, ascending within a user.
        It counts the interactions of all parts of the split, so that positions of different parts
        can be compared. Positions of interactions in other parts are therefore missing here. A
        method should learn from the order alone: a gap in the positions reveals a held-out item.
    time: (E,) int64 as the source has it; None unless every interaction has one.
    The order is that of `glta.data.prepare.in_time`: by time, and by place in the file where times
    are equal. Interactions without a time come first.
    Make one with `Sequences.of`, which sorts and checks. The constructor itself checks nothing.
    """

    indptr: np.ndarray
    item: np.ndarray
    position: np.ndarray
    time: np.ndarray | None
    num_items: int

    @classmethod
    def of(cls, frames: Iterable[pl.DataFrame], num_users: int, num_items: int) -> Sequences:
        """Put the interactions of several parts of a split together.

        frames: columns user, item, timestamp, position. Raises ValueError for a missing column, for
        ids out of range, and when two interactions of a user have the same position.
        """
        frames = list(frames)
        for frame in frames:
            if missing := [name for name in COLUMNS if name not in frame.columns]:
                raise ValueError(
                    f"prepared interactions have no column {missing[0]}, they were written by an "
                    "older version; run the stage prepare again"
                )
        whole = pl.concat(frame.select(COLUMNS) for frame in frames)
        user, item, position = (
            whole[name].to_numpy().astype(np.int64) for name in ("user", "item", "position")
        )
        for name, ids, size in (("user", user, num_users), ("item", item, num_items)):
            if ids.size and (ids.min() < 0 or ids.max() >= size):
                raise ValueError(
                    f"{name} ids must lie in 0..{size - 1}, found {ids.min()}..{ids.max()}"
                )
        order = np.lexsort((position, user))
        user, item, position = user[order], item[order], position[order]
        if (twice := (user[1:] == user[:-1]) & (position[1:] == position[:-1])).any():
            at = int(np.flatnonzero(twice)[0])
            raise ValueError(f"user {user[at]} has two interactions at position {position[at]}")
        untimed = whole["timestamp"].null_count()
        time = None if untimed else whole["timestamp"].to_numpy().astype(np.int64)[order]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(user, minlength=num_users))])
        return cls(indptr, item, position, time, num_items)

    @classmethod
    def of_lists(cls, lists: Iterable[Sequence[int]], num_items: int) -> Sequences:
        """Make the histories of some users from their items in order, without times.

        Raises ValueError for an id out of range.
        """
        items = [np.asarray(one, np.int64) for one in lists]
        size = [one.size for one in items]
        item = np.concatenate([*items, np.empty(0, np.int64)])
        if item.size and (item.min() < 0 or item.max() >= num_items):
            raise ValueError(
                f"item ids must lie in 0..{num_items - 1}, found {item.min()}..{item.max()}"
            )
        position = np.concatenate([*map(np.arange, size), np.empty(0, np.int64)])
        return cls(np.cumsum([0, *size]), item, position, None, num_items)

    def __len__(self) -> int:
        return self.item.size

    @property
    def num_users(self) -> int:
        return self.indptr.size - 1

    @cached_property
    def length(self) -> np.ndarray:
        """(U,) int64: interactions per user."""
        return np.diff(self.indptr)

    @cached_property
    def user(self) -> np.ndarray:
        """(E,) int64: the user of each interaction, ascending."""
        return np.repeat(np.arange(self.num_users), self.length)

    @cached_property
    def age(self) -> np.ndarray:
        """(E,) int64: how many newer items the user has here; 0 is the newest."""
        return self.indptr[self.user + 1] - 1 - np.arange(len(self))

    def of_user(self, user: int) -> History:
        """Return the interactions of one user; user: 0 <= user < U."""
        own = slice(self.indptr[user], self.indptr[user + 1])
        time = None if self.time is None else self.time[own]
        return History(self.item[own], self.position[own], time)

    def last(self, n: int, *, users: np.ndarray | None = None, padding: int = PADDING) -> Window:
        """Return the last n items of each user.

        users: (B,) ids; None takes all users, B = U. padding: the item id of an empty place.
        """
        users = np.arange(self.num_users) if users is None else np.asarray(users, np.int64)
        return self._window(users, self.indptr[users + 1], n, padding)

    def window(
        self, users: np.ndarray, positions: np.ndarray, n: int, *, padding: int = PADDING
    ) -> Window:
        """Return the last n items that each user has before a position, such as that of a target.

        users, positions: (B,); a user may be asked for more than once. All interactions are read to
        find the positions: where a target is one of them, ask `before_each`.
        """
        users = np.asarray(users, np.int64)
        return self._window(users, self._ends(users, np.asarray(positions, np.int64)), n, padding)

    def before_each(self, places: np.ndarray, n: int, *, padding: int = PADDING) -> Window:
        """Return the last n items that a user has before each of some interactions.

        places: (B,), indices of the interactions in `item`.
        """
        places = np.asarray(places, np.int64)
        return self._window(self.user[places], places, n, padding)

    def before(self, position: np.ndarray) -> Sequences:
        """Keep each user's interactions before a position. position: (U,)."""
        return self._only(self.position < np.asarray(position)[self.user])

    def within(self, pairs: Interactions) -> Sequences:
        """Keep the interactions that are among the pairs, such as `Prepared.graph`."""
        return self._only(pairs.contains(self.user, self.item))

    def _ends(self, users: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return the index of each user's first interaction at the position or after it, (B,).

        One binary search finds all of them.
        """
        above = max(int(self.position.max(initial=0)), int(positions.max(initial=0))) + 2
        key = self.user * above + self.position
        return np.searchsorted(key, users * above + np.maximum(positions, 0))

    def _window(self, users: np.ndarray, end: np.ndarray, n: int, padding: int) -> Window:
        """Return the n items of each user before index `end`, (B,)."""
        if n < 1:
            raise ValueError(f"n = {n}: a window holds at least one item; pass n >= 1")
        place = end[:, None] - np.arange(n, 0, -1)
        mask = place >= self.indptr[users][:, None]

        def taken(values: np.ndarray, nothing: int) -> np.ndarray:
            window = np.full(mask.shape, nothing, np.int64)
            window[mask] = values[place[mask]]
            return window

        time = None if self.time is None else taken(self.time, 0)
        return Window(taken(self.item, padding), mask, time)

    def _only(self, kept: np.ndarray) -> Sequences:
        """Keep some interactions. kept: (E,) bool."""
        time = None if self.time is None else self.time[kept]
        count = np.bincount(self.user[kept], minlength=self.num_users)
        indptr = np.concatenate([[0], np.cumsum(count)])
        return Sequences(indptr, self.item[kept], self.position[kept], time, self.num_items)
