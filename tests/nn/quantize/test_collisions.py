"""Every item has codes of its own, whatever the strategy and however alike the items are."""

from itertools import permutations

import numpy as np
import pytest

from glta.nn.quantize.codebooks import Codebooks
from glta.nn.quantize.collisions import FreeCodes, group_numbers, places_in_groups, resolved

# one coordinate a level: codes at 0, 10, 20 on the first, at 0, 1, 2 on the last
BOOKS = Codebooks(np.float32([[[0], [10], [20]], [[0], [1], [2]]]))


def distinct(codes: np.ndarray) -> bool:
    return len({*map(tuple, codes.tolist())}) == len(codes)


def rows_of(*values: float) -> np.ndarray:
    return np.float32(values)[:, None]


def test_places_in_groups():
    codes = np.array([[1, 2], [0, 0], [1, 2], [2, 1], [1, 2], [0, 0]])
    assert places_in_groups(codes).tolist() == [0, 0, 1, 0, 2, 1]
    assert group_numbers(codes).tolist() == [1, 0, 1, 2, 1, 0]


def test_a_further_token_counts_equal_codes():
    rows = rows_of(10.9, 0, 11.1, 11)
    codes = resolved(BOOKS.nearest(rows), rows, BOOKS, "token")
    assert codes.tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1], [1, 1, 2]]


def test_assignment_of_the_last_codes_is_optimal():
    rows = rows_of(10.9, 11.2, 11.3, 0)
    before = BOOKS.nearest(rows)
    assert before.tolist() == [[1, 1], [1, 1], [1, 1], [0, 0]]
    codes = resolved(before, rows, BOOKS, "assign")
    # all orders of 0, 1, 2 for the three items that collide
    cost = {
        order: sum((rest - code) ** 2 for rest, code in zip((0.9, 1.2, 1.3), order, strict=True))
        for order in permutations(range(3))
    }
    best = min(cost, key=cost.get)
    assert best == (0, 1, 2)
    assert codes.tolist() == [[1, 0], [1, 1], [1, 2], [0, 0]]


def test_assignment_leaves_prefixes_without_collision_alone():
    rows = rows_of(10.4, 10.6, 20, 20.1)
    codes = resolved(BOOKS.nearest(rows), rows, BOOKS, "assign")
    assert codes[:2].tolist() == [[1, 0], [1, 1]]
    assert distinct(codes)


def test_assignment_refuses_a_prefix_with_too_many_items():
    rows = rows_of(10, 11, 12, 11.5)
    with pytest.raises(ValueError, match=r"4 items have the code prefix 1, .* 3 codes; raise"):
        resolved(BOOKS.nearest(rows), rows, BOOKS, "assign")


def test_the_nearest_item_keeps_its_codes_and_others_get_the_nearest_free():
    rows = rows_of(11.3, 11.1, 10.8, 0.4)
    codes = resolved(BOOKS.nearest(rows), rows, BOOKS, "nearest")
    # 11.1 keeps 1-1; then 10.8 takes 1-0, as 0 is nearer to 0.8 than 2; then 11.3 takes 1-2
    assert codes.tolist() == [[1, 2], [1, 1], [1, 0], [0, 0]]


def test_a_full_prefix_gives_way_to_the_next_nearest():
    rows = rows_of(10, 10.9, 11.9, 11.8, 11.7)
    codes = resolved(BOOKS.nearest(rows), rows, BOOKS, "nearest")
    assert codes[:3].tolist() == [[1, 0], [1, 1], [1, 2]]
    # 20 is nearer to 11.8 than 0 is, and what is left over, -8.2, is nearest to 0
    assert codes[3:].tolist() == [[2, 0], [2, 1]]


def test_free_codes_fill_the_whole_tree_and_no_more():
    free = FreeCodes(BOOKS, np.empty((0, 2), int))
    found = [tuple(free.take(np.float32([11]))) for _ in range(9)]
    assert found[:3] == [(1, 1), (1, 0), (1, 2)]  # of equally near ones, the first
    assert len(set(found)) == 9
    with pytest.raises(ValueError, match=r"9 items have all 3\^2 code sequences; raise"):
        free.take(np.float32([11]))


@pytest.mark.parametrize("strategy", ["token", "nearest"])
def test_many_identical_items_get_codes_of_their_own(strategy):
    rng = np.random.default_rng(0)
    books = Codebooks(rng.normal(size=(3, 8, 4)).astype(np.float32))
    rows = np.repeat(rng.normal(size=(4, 4)).astype(np.float32), 100, axis=0)
    codes = resolved(books.nearest(rows), rows, books, strategy)
    assert distinct(codes) and codes.dtype == np.int32
    if strategy == "nearest":
        assert codes.min() >= 0 and codes.max() < 8


@pytest.mark.parametrize("strategy", ["token", "assign", "nearest"])
def test_codes_without_collision_stay(strategy):
    rows = rows_of(0, 1, 11, 22)
    codes = resolved(BOOKS.nearest(rows), rows, BOOKS, strategy)
    assert codes[:, :2].tolist() == [[0, 0], [0, 1], [1, 1], [2, 2]]


@pytest.mark.parametrize("strategy", ["token", "assign", "nearest"])
def test_random_items_get_codes_of_their_own(strategy):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(300, 2)).astype(np.float32)
    books = Codebooks(rng.normal(size=(2, 40, 2)).astype(np.float32))
    before = books.nearest(rows)
    assert not distinct(before)
    codes = resolved(before, rows, books, strategy)
    assert distinct(codes)
    *_, near = books.sums(before)
    *_, far = books.sums(codes[:, :2])
    errors = [np.square(rows - total).sum() for total in (near, far)]
    # squared errors may grow, as items in the dense middle share few codes, but not without limit
    assert errors[0] <= errors[1] < 4.5 * errors[0]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("token", [[1, 0], [1, 1], [1, 2]]),
        ("assign", [[0], [2], [1]]),
        ("nearest", [[0], [2], [1]]),
    ],
)
def test_one_level_is_enough(strategy, expected):
    books = Codebooks(BOOKS.levels[:1])
    rows = rows_of(9, 11, 10.5)
    assert resolved(books.nearest(rows), rows, books, strategy).tolist() == expected
