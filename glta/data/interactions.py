"""The user-item pairs of one split, in the one form that every other module takes."""

# U users, I items, E interactions, B users of a block
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Interactions:
    """Hold distinct user-item pairs with dense ids, sorted by user, then item.

    user, item: (E,) int64, 0 <= user < num_users, 0 <= item < num_items.
    Make one with `Interactions.of`, which sorts and checks. The constructor itself checks nothing.
    """

    user: np.ndarray
    item: np.ndarray
    num_users: int
    num_items: int

    @classmethod
    def of(cls, user: ArrayLike, item: ArrayLike, num_users: int, num_items: int) -> Interactions:
        """Sort and check pairs. Raises ValueError for ids out of range and for duplicate pairs."""
        user = np.asarray(user, np.int64)
        item = np.asarray(item, np.int64)
        for name, ids, size in (("user", user, num_users), ("item", item, num_items)):
            if ids.size and (ids.min() < 0 or ids.max() >= size):
                raise ValueError(
                    f"{name} ids must lie in 0..{size - 1}, found {ids.min()}..{ids.max()}"
                )
        key = np.sort(user * num_items + item)
        if (twice := key[1:] == key[:-1]).any():
            first_user, first_item = divmod(int(key[1:][twice][0]), num_items)
            raise ValueError(f"pair user {first_user}, item {first_item} occurs more than once")
        return cls(key // max(num_items, 1), key % max(num_items, 1), num_users, num_items)

    def __len__(self) -> int:
        return self.user.size

    @cached_property
    def key(self) -> np.ndarray:
        """(E,) int64: user * num_items + item, ascending. `contains` searches in it."""
        return self.user * self.num_items + self.item

    @cached_property
    def indptr(self) -> np.ndarray:
        """(U+1,) int64: the items of user u are item[indptr[u]:indptr[u+1]]."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.user, minlength=self.num_users))])

    @cached_property
    def user_degree(self) -> np.ndarray:
        """(U,) int64: interactions per user."""
        return np.diff(self.indptr)

    @cached_property
    def item_degree(self) -> np.ndarray:
        """(I,) int64: interactions per item."""
        return np.bincount(self.item, minlength=self.num_items)

    def items_of(self, user: int) -> np.ndarray:
        """The items of one user, ascending."""
        return self.item[self.indptr[user] : self.indptr[user + 1]]

    def rows(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (position in users, item) of all pairs of the given users, in their order."""
        counts = self.user_degree[users]
        row = np.repeat(np.arange(len(users)), counts)
        offset = np.arange(row.size) - np.repeat(np.cumsum(counts) - counts, counts)
        return row, self.item[np.repeat(self.indptr[users], counts) + offset]

    def contains(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Return for each given pair whether it is one of these, bool.

        user, item: ids of any shape, the same for both. The result has that shape.
        """
        if not len(self):
            return np.zeros(np.shape(user), bool)
        key = user * self.num_items + item
        at = np.searchsorted(self.key, key)
        return self.key[np.minimum(at, len(self) - 1)] == key

    def union(self, other: Interactions) -> Interactions:
        """Return the pairs that are in this set, in the other, or in both."""
        key = np.union1d(self.key, other.key)
        return Interactions(
            key // self.num_items, key % self.num_items, self.num_users, self.num_items
        )
