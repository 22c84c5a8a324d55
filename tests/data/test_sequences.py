"""Histories in order: by hand, from the tables of `prepare`, and cut before targets."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from glta.data.histories import history_matrix, recent_matrix
from glta.data.interactions import Interactions
from glta.data.prepare import prepare
from glta.data.prepared import Prepared
from glta.data.sequences import Sequences
from glta.data.settings import PrepareSettings
from glta.testing.blocks import LONER, NUM_USERS
from tests.data.test_prepare import raw_of

LOOSE = {"user_core": 1, "item_core": 1}


def frame_of(*rows) -> pl.DataFrame:
    """rows: user, item, timestamp, position."""
    return pl.DataFrame(rows, schema=["user", "item", "timestamp", "position"], orient="row")


@pytest.fixture
def by_hand() -> Sequences:
    """User 0: items 5, 3, 4 and, at position 3, somewhere else; user 1: nothing; user 2: 9."""
    train = frame_of((0, 3, 20, 1), (0, 5, 10, 0), (2, 9, 7, 0))
    valid = frame_of((0, 4, 40, 2))
    return Sequences.of([train, valid], 3, 10)


def test_histories_are_in_order(by_hand):
    assert (by_hand.num_users, by_hand.num_items, len(by_hand)) == (3, 10, 4)
    assert by_hand.length.tolist() == [3, 0, 1]
    own = by_hand.of_user(0)
    assert own.item.tolist() == [5, 3, 4]
    assert own.time.tolist() == [10, 20, 40]
    assert own.position.tolist() == [0, 1, 2]
    assert by_hand.of_user(1).item.size == 0


def test_the_last_items_stand_at_the_right(by_hand):
    window = by_hand.last(2)
    assert window.item.tolist() == [[3, 4], [-1, -1], [-1, 9]]
    assert window.mask.tolist() == [[True, True], [False, False], [False, True]]
    assert window.time.tolist() == [[20, 40], [0, 0], [0, 7]]
    some = by_hand.last(4, users=np.array([2, 0, 2]), padding=10)
    assert some.item.tolist() == [[10, 10, 10, 9], [10, 5, 3, 4], [10, 10, 10, 9]]


def test_windows_end_before_a_position(by_hand):
    window = by_hand.window(np.array([0, 0, 0, 0, 1, 2, 2]), np.array([0, 1, 2, 9, 5, 0, 1]), 2)
    assert window.item.tolist() == [
        [-1, -1],
        [-1, 5],
        [5, 3],
        [3, 4],
        [-1, -1],
        [-1, -1],
        [-1, 9],
    ]


@pytest.mark.parametrize("n", [1, 3, 9])
def test_windows_before_interactions_are_those_before_their_positions(n):
    rng = np.random.default_rng(5)
    user, time = np.repeat(np.arange(8), rng.integers(0, 7, 8)), rng.integers(0, 9, 100)
    # positions have gaps, as where other parts have interactions
    rows = zip(user, rng.integers(0, 10, 100), time, rng.permutation(100), strict=False)
    found = Sequences.of([frame_of(*([int(x) for x in row] for row in rows))], 8, 10)
    places = rng.permutation(np.r_[np.arange(len(found)), 0, 3])
    before = found.before_each(places, n, padding=10)
    expected = found.window(found.user[places], found.position[places], n, padding=10)
    for one, other in zip(before, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_cuts_leave_what_was_before_and_what_is_among_the_pairs(by_hand):
    cut = by_hand.before(np.array([2, 2, 0]))
    assert [cut.of_user(u).item.tolist() for u in range(3)] == [[5, 3], [], []]
    assert cut.of_user(0).time.tolist() == [10, 20]
    left = by_hand.within(Interactions.of([0, 0, 2], [4, 5, 8], 3, 10))
    assert [left.of_user(u).item.tolist() for u in range(3)] == [[5, 4], [], []]
    assert left.of_user(0).position.tolist() == [0, 2]
    assert by_hand.within(Interactions.of([], [], 3, 10)).last(1).mask.sum() == 0


def test_age_counts_newer_items_and_weighs_them(by_hand):
    assert by_hand.age.tolist() == [2, 1, 0, 0]
    weights = recent_matrix(by_hand, 0.5).toarray()
    assert weights[0].tolist() == [0, 0, 0, 0.5, 1, 0.25, 0, 0, 0, 0]
    assert weights[2].nonzero()[0].tolist() == [9]
    assert not weights[1].any()
    assert recent_matrix(by_hand, 0).toarray().nonzero()[1].tolist() == [4, 9]
    assert by_hand.of_user(0).item.tolist() == [5, 3, 4]
    alike = recent_matrix(by_hand, 1) != history_matrix(
        Interactions.of(by_hand.user, by_hand.item, 3, 10)
    )
    assert alike.nnz == 0


def test_histories_of_lists():
    made = Sequences.of_lists([[4, 1, 2], [], [0]], 5)
    assert [made.of_user(u).item.tolist() for u in range(3)] == [[4, 1, 2], [], [0]]
    assert made.last(2).item.tolist() == [[1, 2], [-1, -1], [-1, 0]]
    assert Sequences.of_lists([], 5).num_users == 0
    with pytest.raises(ValueError, match=r"item ids must lie in 0\.\.4, found 1\.\.5"):
        Sequences.of_lists([[1, 5]], 5)


def test_a_method_that_needs_order_refuses_data_without_times(prepared):
    assert prepared.timed("sasrec") is prepared.sequences
    train = prepared.parts["train"].with_columns(timestamp=pl.lit(None, pl.Int64))
    untimed = replace(prepared, parts={**prepared.parts, "train": train})
    with pytest.raises(ValueError, match=r"sasrec: needs a time .* name the column in tables"):
        untimed.timed("sasrec")


def test_one_missing_time_means_no_times(by_hand):
    untimed = Sequences.of([frame_of((0, 1, None, 0), (0, 2, 5, 1))], 1, 3)
    assert untimed.time is None
    assert untimed.of_user(0).time is None
    assert untimed.last(1).time is None
    assert untimed.before(np.array([1])).of_user(0).item.tolist() == [1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 3, 1, 0)], r"item ids must lie in 0\.\.2, found 3\.\.3"),
        ([(-1, 0, 1, 0)], r"user ids must lie in 0\.\.1, found -1\.\.-1"),
        ([(1, 0, 1, 4), (1, 2, 2, 4)], "user 1 has two interactions at position 4"),
    ],
)
def test_what_is_no_history_is_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        Sequences.of([frame_of(*rows)], 2, 3)


def test_tables_of_an_older_version_are_refused(tmp_path, prepared):
    old = prepared.parts["train"].select("user", "item", "target")
    with pytest.raises(ValueError, match=r"no column timestamp, .*run the stage prepare again"):
        Prepared(
            *[prepared.train] * 5, prepared.users, prepared.items, {"train": old}
        ).sequences.last(1)
    with pytest.raises(ValueError, match="have no order"):
        Prepared(*[prepared.train] * 5, prepared.users, prepared.items).ordered("train")
    with pytest.raises(ValueError, match="n = 0"):
        prepared.sequences.last(0)


def test_prepared_data_know_what_precedes_each_target(prepared):
    known, seen = prepared.sequences, prepared.seen_sequences
    assert len(known) == len(prepared.train)
    assert np.array_equal(seen.last(1).item[:LONER, 0], prepared.valid.item)
    assert np.array_equal(known.length, prepared.train.user_degree)
    tested = prepared.ordered("test")
    before = seen.window(tested.user, tested.position, 3)
    assert before.mask.all()
    assert np.array_equal(before.item, seen.last(3, users=np.arange(NUM_USERS - 1)).item)


@pytest.fixture(params=["random", "leave_last_out", "global_time"])
def split(request) -> str:
    return request.param


def histories(pairs, times, split: str, folder, seed: int = 3):
    tables = prepare(raw_of(pairs, timestamp=times), PrepareSettings(split=split, **LOOSE), seed)
    tables.save(folder)
    return tables, Prepared.load(folder).ordered("train", "valid", "test")


def test_positions_order_the_whole_history_of_every_user(split, tmp_path):
    rng = np.random.default_rng(2)
    pairs = [(u, i) for u in range(20) for i in rng.choice(30, 4 + u % 9, replace=False)]
    pairs = [pairs[k] for k in rng.permutation(len(pairs))]
    times = rng.integers(0, 15, len(pairs)).tolist()  # with many ties
    tables, whole = histories(pairs, times, split, tmp_path)
    expected: dict[int, list] = {user: [] for user in range(20)}
    for _, order, (user, item) in sorted(zip(times, range(len(pairs)), pairs, strict=True)):
        expected[user].append((item, times[order]))
    for user, history in expected.items():
        own = whole.of_user(user)
        assert list(zip(own.item, own.time, strict=True)) == history
        assert own.position.tolist() == list(range(len(history)))
    for frame in (tables.train, tables.valid, tables.test):
        assert frame.columns[:5] == ["user", "item", "rating", "timestamp", "position"]
        assert frame.schema["timestamp"] == pl.Int64
        assert frame.schema["position"] == pl.Int32
    if split == "leave_last_out":
        size = whole.length[tables.test["user"].to_numpy()]
        assert np.array_equal(tables.test["position"].to_numpy(), size - 1)
        assert (tables.valid["position"].to_numpy() == size - 2).all()


def test_without_times_the_file_is_the_order(tmp_path):
    rng = np.random.default_rng(4)
    pairs = [(u, i) for u in range(8) for i in range(10)]
    pairs = [pairs[k] for k in rng.permutation(len(pairs))]
    tables, whole = histories(pairs, None, "random", tmp_path)
    assert whole.time is None
    assert tables.train["timestamp"].null_count() == tables.train.height
    for user in range(8):
        assert whole.of_user(user).item.tolist() == [i for u, i in pairs if u == user]


def test_what_has_no_time_comes_first_in_the_order_of_the_file(tmp_path):
    times = [30, None, -5, None, 10] + [1] * 28
    pairs = [(0, i) for i in (4, 3, 2, 1, 0)] + [(u, i) for u in range(1, 5) for i in range(7)]
    _, whole = histories(pairs, times, "random", tmp_path)
    assert whole.of_user(0).item.tolist() == [3, 1, 2, 0, 4]
    assert whole.time is None


def test_ratings_stay_with_their_pairs():
    pairs = [(u, i) for u in range(5) for i in range(7)]
    rating = [float(10 * u + i) for u, i in pairs]
    tables = prepare(raw_of(pairs, rating=rating), PrepareSettings(**LOOSE), 0)
    for frame in (tables.train, tables.valid, tables.test):
        assert frame["rating"].to_list() == (10 * frame["user"] + frame["item"]).to_list()
