"""Give every item a code sequence of its own."""

# I items, L levels, K codes of a level, F width of the quantised rows
from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.optimize import linear_sum_assignment

from glta.nn.quantize.codebooks import Codebooks
from glta.nn.quantize.settings import Collisions


def resolved(
    codes_IL: np.ndarray, rows_IF: np.ndarray, books: Codebooks, strategy: Collisions
) -> np.ndarray:
    """Return codes that tell all items apart: (I, L) or, with strategy token, (I, L + 1) int32.

    token: a further code counts the items of equal codes, from 0, in the order of their numbers
        (TIGER: Rajput et al., NeurIPS 2023).
    assign: where items collide, the last codes of all items of their prefix are assigned anew, so
        that the sum of squared distances to what is left over is least. Raises ValueError when a
        prefix has more items than the last level has codes.
    nearest: of items with equal codes, the nearest one keeps them. The others get free ones, see
        `FreeCodes`. Raises ValueError when there are more items than sequences.
    codes_IL: of `Codebooks.nearest`. rows_IF: the rows that were quantised.
    """
    if strategy == "token":
        return np.column_stack([codes_IL, places_in_groups(codes_IL)]).astype(np.int32)
    if strategy == "assign":
        return _assigned(codes_IL, rows_IF, books)
    return _nearest_free(codes_IL, rows_IF, books)


def group_numbers(codes_IL: np.ndarray) -> np.ndarray:
    """Number the different rows from 0 in their order, and return the number of each item (I,)."""
    return np.unique(codes_IL, axis=0, return_inverse=True)[1].reshape(-1)


def places_in_groups(codes_IL: np.ndarray) -> np.ndarray:
    """Return the place of each item among those with equal codes: (I,), from 0."""
    group = group_numbers(codes_IL)
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], group)
    place = np.empty(len(group), np.int64)
    place[order] = np.arange(len(group))
    return place - first


class FreeCodes:
    """Find the nearest free code sequence.

    It differs from the nearest sequence on as few of the last levels as possible. On each of these
    levels it takes the nearest code under which a sequence is free.
    taken_IL: the sequences that items have.
    """

    def __init__(self, books: Codebooks, taken_IL: np.ndarray):
        self.books = books
        self.count: Counter[tuple[int, ...]] = Counter()
        for codes in taken_IL.tolist():
            self._take(codes)

    def take(self, row_F: np.ndarray) -> list[int]:
        """Return the nearest free sequence, which is then taken. Raises ValueError without one."""
        levels = self.books.num_levels
        codes: list[int] = []
        for level, book_KF in enumerate(self.books.levels):
            room = self.books.num_codes ** (levels - 1 - level)
            distances_K = np.square(row_F - book_KF).sum(1)
            for code in np.argsort(distances_K, kind="stable").tolist():
                if self.count[(*codes, code)] < room:
                    codes.append(code)
                    row_F = row_F - book_KF[code]
                    break
            else:
                raise ValueError(
                    f"{self.count.total() // levels} items have all {self.books.num_codes}^{levels}"
                    " code sequences; raise codes or levels"
                )
        self._take(codes)
        return codes

    def _take(self, codes: list[int]) -> None:
        for length in range(1, len(codes) + 1):
            self.count[tuple(codes[:length])] += 1


def _assigned(codes_IL: np.ndarray, rows_IF: np.ndarray, books: Codebooks) -> np.ndarray:
    """Resolve by optimal assignment on the last level."""
    codes = codes_IL.copy()
    *_, before, _ = (np.zeros_like(rows_IF), *books.sums(codes_IL))
    rest_IF = rows_IF - before
    square_K = np.square(books.levels[-1]).sum(1)
    collides = places_in_groups(codes_IL) > 0
    prefix = group_numbers(codes_IL[:, :-1])
    for group in np.unique(prefix[collides]):
        items = np.flatnonzero(prefix == group)
        if len(items) > books.num_codes:
            shown = "-".join(map(str, codes_IL[items[0], :-1]))
            raise ValueError(
                f"{len(items)} items have the code prefix {shown or '(none)'}, and the last level "
                f"has {books.num_codes} codes; raise codes, or set collisions: nearest"
            )
        # squared distances without the squared lengths of the items, which no assignment changes
        cost = square_K - 2 * (rest_IF[items] @ books.levels[-1].T)
        codes[items, -1] = linear_sum_assignment(cost)[1]
    return codes


def _nearest_free(codes_IL: np.ndarray, rows_IF: np.ndarray, books: Codebooks) -> np.ndarray:
    """Resolve by the nearest free sequences."""
    *_, quantised = books.sums(codes_IL)
    error_I = np.square(rows_IF - quantised).sum(1)
    order = np.argsort(error_I, kind="stable")
    later = order[places_in_groups(codes_IL[order]) > 0]
    codes = codes_IL.copy()
    free = FreeCodes(books, np.delete(codes_IL, later, axis=0))
    for item in later:
        codes[item] = free.take(rows_IF[item])
    return codes
