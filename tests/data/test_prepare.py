"""Cleaning, filtering, numbering and splitting."""

import hashlib
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glta.data import splits
from glta.data.prepare import deduplicate, dense_ids, prepare
from glta.data.prepared import Prepared
from glta.data.settings import PrepareSettings
from glta.data.statistics import degrees, leakage, protocol, ratings
from glta.io.raw import Raw
from glta.storage.files import sha256_of

KINDS = ("random", "leave_last_out", "global_time")


def raw_of(pairs, rating=None, timestamp=None) -> Raw:
    n = len(pairs)
    interactions = pl.DataFrame(
        {
            "user_id": [str(u) for u, _ in pairs],
            "item_id": [str(i) for _, i in pairs],
            "rating": rating or [None] * n,
            "timestamp": timestamp or [None] * n,
        },
        schema_overrides={"rating": pl.Float64, "timestamp": pl.Int64},
    )
    ids = interactions["item_id"].unique().sort()
    items = pl.DataFrame({"item_id": ids}).with_columns(
        title=pl.col("item_id"), description=pl.lit(""), categories=pl.lit([], pl.List(pl.String))
    )
    return Raw(interactions, items, {"interaction_rows": n})


@pytest.fixture(scope="module")
def blocks() -> Raw:
    """60 users with 5 to 24 of 40 items, in shuffled order, at distinct times."""
    rng = np.random.default_rng(1)
    pairs = [(u, i) for u in range(60) for i in rng.choice(40, 5 + u % 20, replace=False)]
    pairs = [pairs[k] for k in rng.permutation(len(pairs))]
    return raw_of(
        pairs,
        rating=[float(1 + k % 5) for k in range(len(pairs))],
        timestamp=rng.permutation(len(pairs)).tolist(),
    )


def naive_core(pairs: set, user_core: int, item_core: int) -> set:
    while True:
        users, items = [u for u, _ in pairs], [i for _, i in pairs]
        kept = {
            (u, i) for u, i in pairs if users.count(u) >= user_core and items.count(i) >= item_core
        }
        if kept == pairs:
            return pairs
        pairs = kept


@given(
    st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=40),
    st.integers(1, 4),
    st.integers(1, 4),
)
@settings(max_examples=150, deadline=None)
def test_core_equals_the_naive_loop(pairs, user_core, item_core):
    user, item = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
    keep, passes = splits.core(user, item, user_core, item_core)
    assert set(zip(user[keep], item[keep], strict=True)) == naive_core(pairs, user_core, item_core)
    assert passes >= 1


def random_parts(user, valid_share, test_share, seed, split_seed=0):
    """Split at random, with generators of two seeds."""
    return splits.random_split(
        user,
        valid_share,
        test_share,
        fixed=np.random.default_rng(split_seed),
        generator=np.random.default_rng([seed, 7]),
    )


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=20),
    st.floats(0.01, 0.49),
    st.floats(0.01, 0.49),
    st.integers(0, 9),
)
@settings(max_examples=100, deadline=None)
def test_random_split_is_within_one_of_every_share(sizes, valid_share, test_share, seed):
    user = np.repeat(np.arange(len(sizes)), sizes)
    part = random_parts(user, valid_share, test_share, seed, split_seed=seed)
    train_share = 1 - valid_share - test_share
    for u, n in enumerate(sizes):
        train, valid, test = np.bincount(part[user == u], minlength=3)
        assert train + valid + test == n
        assert train >= 1
        if n * train_share >= 1:
            assert abs(train - n * train_share) < 1 + 1e-9
            assert abs(valid - n * valid_share) < 1 + 1e-9
            assert abs(test - n * test_share) < 1 + 1e-9


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7, 10])
def test_shares_are_met_in_expectation_for_every_length(size):
    """Means over 40,000 users; 0.01 is four standard errors of a number that is one of two."""
    users = 40_000
    user = np.repeat(np.arange(users), size)
    part = random_parts(user, 0.1, 0.2, seed=1)
    for kind, share in ((splits.TRAIN, 0.7), (splits.VALID, 0.1), (splits.TEST, 0.2)):
        mean = (part == kind).sum() / users
        assert size * share - 0.01 < mean < size * share + 0.01
    # an item's place in the history gives it no other chance
    for place in range(size):
        assert abs((part[place::size] == splits.TEST).mean() - 0.2) < 0.01
        assert abs((part[place::size] == splits.VALID).mean() - 0.1) < 0.01


def test_a_user_with_one_item_keeps_it_for_training():
    assert (random_parts(np.arange(1000), 0.1, 0.2, seed=0) == splits.TRAIN).all()


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.floats(0.05, 0.95))
@settings(max_examples=100, deadline=None)
def test_a_given_split_keeps_its_test_part(sizes, share):
    user = np.repeat(np.arange(len(sizes)), sizes)
    part = np.where(np.arange(user.size) % 3 == 2, splits.TEST, splits.TRAIN)
    cut = splits.given(part, user, share, np.random.default_rng(0))
    assert np.array_equal(cut == splits.TEST, part == splits.TEST)
    for u in np.unique(user[part == splits.TRAIN]):
        train, valid = ((cut[user == u] == p).sum() for p in (splits.TRAIN, splits.VALID))
        assert train >= 1
        assert valid == train + valid - 1 or abs(valid - share * (train + valid)) < 1 + 1e-9
    whole = np.where(np.arange(user.size) % 3 == 1, splits.VALID, part)
    if (whole == splits.VALID).any():
        assert np.array_equal(splits.given(whole, user, share, np.random.default_rng(0)), whole)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.floats(0.05, 0.95))
@settings(max_examples=100, deadline=None)
def test_targets_leave_everyone_an_item(sizes, share):
    user = np.repeat(np.arange(len(sizes)), sizes)
    target = splits.choose_targets(user, share, np.random.default_rng(0))
    for u, n in enumerate(sizes):
        count = target[user == u].sum()
        assert count <= n - 1
        assert count == n - 1 or abs(count - share * n) < 1 + 1e-9


@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_added_validation_and_targets_are_met_in_expectation(size):
    """Means over 40,000 users, as above."""
    users = 40_000
    user = np.repeat(np.arange(users), size)
    target = splits.choose_targets(user, 0.25, np.random.default_rng(0))
    train = np.full(user.size, splits.TRAIN)
    added = splits.given(train, user, 0.1, np.random.default_rng(0)) == splits.VALID
    for chosen, share in ((target, 0.25), (added, 0.1)):
        assert size * share - 0.01 < chosen.sum() / users < size * share + 0.01


@pytest.mark.parametrize("threads", [1, 2, 3, 50])
def test_threads_change_nothing(threads, monkeypatch):
    """Ranks by the definition, and a core found by dropping one node at a time, whatever the spans
    are.
    """
    monkeypatch.setattr(splits.pl, "thread_pool_size", lambda: threads)
    rng = np.random.default_rng(threads)
    for size in (0, 1, 40, 400):
        group, key = np.sort(rng.integers(0, 30, size)), rng.permutation(size)
        rank = [int((key[group == g] < k).sum()) for g, k in zip(group, key, strict=True)]
        assert splits.rank_within(group, key).tolist() == rank
        pairs = np.unique(np.stack([group, rng.integers(0, 30, size)], 1), axis=0)
        left = pairs.tolist()
        while few := next(
            (p for p in left for c in (0, 1) if sum(q[c] == p[c] for q in left) < 3 + c), None
        ):
            left.remove(few)
        keep, _ = splits.core(pairs[:, 0], pairs[:, 1], 3, 4)
        assert pairs[keep].tolist() == left


def test_leave_last_out_by_hand():
    user = np.array([0, 1, 1, 2, 2, 2, 2])
    order = np.array([0, 5, 1, 9, 3, 7, 2])
    t, v, e = splits.TRAIN, splits.VALID, splits.TEST
    assert splits.leave_last_out(user, order).tolist() == [t, e, t, e, t, v, t]


def test_global_time_has_no_leak():
    time = np.random.default_rng(0).permutation(100)
    part = splits.global_time(time, 0.1, 0.2)
    assert np.bincount(part).tolist() == [70, 10, 20]
    assert time[part == splits.TRAIN].max() < time[part == splits.VALID].min()
    assert time[part == splits.VALID].max() < time[part == splits.TEST].min()


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.floats(0.05, 0.4))
@settings(max_examples=150, deadline=None)
def test_equal_times_are_in_one_part_of_global_time(times, test_share):
    time = np.array(times)
    part = splits.global_time(time, 0.1, test_share)
    latest = [part[time == t] for t in np.unique(time)]
    assert all(len(set(of_time)) == 1 for of_time in latest)
    assert splits.TRAIN < splits.VALID < splits.TEST
    assert [of_time[0] for of_time in latest] == sorted(of_time[0] for of_time in latest)
    # the test part is as near to its share as any cut between two times
    sizes = [(time >= t).sum() for t in np.unique(time)]
    wanted = round(time.size * test_share)
    assert abs((part == splits.TEST).sum() - wanted) == min(abs(size - wanted) for size in sizes)


def test_too_few_times_for_global_time():
    raw = raw_of([(u, i) for u in range(6) for i in range(6)], timestamp=[1, 2] * 18)
    with pytest.raises(ValueError, match=r"global_time: gives no .* equal times are in one part"):
        prepare(raw, PrepareSettings(split="global_time"), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_disjoint_and_complete(blocks, kind, tmp_path):
    tables = prepare(blocks, PrepareSettings(split=kind), 3)
    tables.save(tmp_path)
    p = Prepared.load(tmp_path)
    keys = np.concatenate([p.train.key, p.valid.key, p.test.key])
    assert (
        np.unique(keys).size
        == keys.size
        == tables.counts["interactions"]
        == len(blocks.interactions)
    )
    assert np.array_equal(np.sort(np.concatenate([p.graph.key, p.target.key])), p.train.key)
    assert p.users["user"].to_list() == list(range(60))
    assert p.items.columns == ["item", "item_id", "title", "description", "categories"]
    for frame in (tables.train, tables.valid, tables.test):
        assert frame.equals(frame.sort("user", "item"))
        assert frame.schema["user"] == frame.schema["item"] == pl.Int32
    if kind != "global_time":
        assert p.train.user_degree.min() >= 1
        assert p.graph.user_degree.min() >= 1


@pytest.mark.parametrize("kind", KINDS)
def test_equal_inputs_give_equal_bytes(blocks, kind, tmp_path):
    hashes = []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        prepare(blocks, PrepareSettings(split=kind), 3).save(tmp_path / run)
        hashes.append({f.name: sha256_of(f) for f in sorted((tmp_path / run).iterdir())})
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 6


@pytest.mark.parametrize(
    ("kind", "new_item_share", "digest"),
    [
        ("random", 0.0, "399a3b96db60d37c"),
        ("random", 0.2, "d5d28b9cb7fb6259"),
        ("leave_last_out", 0.0, "896361364d9855da"),
        ("leave_last_out", 0.2, "abf313043c5e27e5"),
        ("global_time", 0.0, "3c9408e90d486d17"),
        ("global_time", 0.2, "02d4e66ef417017a"),
    ],
)
def test_the_split_of_a_seed_never_changes(blocks, kind, new_item_share, digest):
    """Published numbers hold for one split; a change of a digest makes them old."""
    params = PrepareSettings(split=kind, new_item_share=new_item_share, user_core=1, item_core=1)
    tables = prepare(blocks, params, 3)
    parts = [
        part.select("user", "item").rows() for part in (tables.train, tables.valid, tables.test)
    ]
    told = repr([*parts, tables.train["target"].to_list()])
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == digest


def test_further_columns_of_items_are_kept(blocks):
    price = pl.int_range(pl.len()).cast(pl.Float64).alias("price")
    items = blocks.items.with_columns(price, sizes=pl.lit([1, 2]))
    tables = prepare(Raw(blocks.interactions, items, blocks.counts), PrepareSettings(), 0)
    assert tables.items.columns[-2:] == ["price", "sizes"]
    known = dict(items.select("item_id", "price").rows())
    assert tables.items["price"].to_list() == [known[i] for i in tables.items["item_id"]]


@pytest.mark.parametrize("new_item_share", [0.0, 0.2])
def test_all_seeds_have_one_test_set(blocks, new_item_share):
    """What is chosen on the validation pairs of one seed has seen no test pair of another."""
    params = PrepareSettings(new_item_share=new_item_share)
    tables = [prepare(blocks, params, seed) for seed in range(4)]

    def pairs(part: str) -> list[set]:
        return [set(getattr(t, part).select("user", "item").rows()) for t in tables]

    tests, valids, trains = pairs("test"), pairs("valid"), pairs("train")
    for n in range(1, 4):
        assert tests[n] == tests[0]
        assert valids[n] != valids[0]
        assert not tables[n].train["target"].equals(tables[0].train["target"])
    # about a tenth of the pairs is validation in each seed, so that few are in all of them
    assert len(set.intersection(*valids)) < len(valids[0]) / 4
    assert not tests[0] & set.union(*valids, *trains)
    other = prepare(blocks, params.model_copy(update={"split_seed": 1}), 0)
    assert set(other.test.select("user", "item").rows()) != tests[0]


def test_the_seed_chooses_the_validation_part_that_is_added(blocks):
    part = np.where(np.arange(len(blocks.interactions)) % 4 == 2, splits.TEST, splits.TRAIN)
    interactions = blocks.interactions.with_columns(pl.Series("part", part, pl.Int8))
    raw = Raw(interactions, blocks.items, blocks.counts)
    params = PrepareSettings(split="given", user_core=1, item_core=1)
    first, second = (prepare(raw, params, seed) for seed in (0, 1))
    assert first.test.equals(second.test)
    assert not first.valid.equals(second.valid)


def test_file_order_changes_nothing(blocks):
    base = prepare(blocks, PrepareSettings(), 0)
    shuffled = Raw(
        blocks.interactions.sample(fraction=1, shuffle=True, seed=5), blocks.items, blocks.counts
    )
    assert base.train.equals(prepare(shuffled, PrepareSettings(), 0).train)


def test_time_splits_follow_the_clock(blocks):
    tables = prepare(blocks, PrepareSettings(split="leave_last_out"), 0)
    ids = blocks.interactions.join(tables.users, "user_id").join(tables.items, "item_id")
    last = ids.sort("timestamp").group_by("user").last().sort("user")
    assert last["item"].to_list() == tables.test["item"].to_list()


def test_ties_in_time_follow_the_file():
    raw = raw_of([(u, i) for u in range(3) for i in (2, 0, 1)], timestamp=[7] * 9)
    tables = prepare(raw, PrepareSettings(split="leave_last_out", user_core=1, item_core=1), 0)
    assert tables.test["item"].to_list() == [1, 1, 1]
    assert tables.valid["item"].to_list() == [0, 0, 0]


def test_cold_users_and_items_are_counted():
    # time cuts after 70 and 80 of 100: user 9 and item 9 come last
    pairs = (
        [(u, i) for u in range(9) for i in range(9)]
        + [(u, 9) for u in range(9)]
        + [(9, i) for i in range(10)]
    )
    tables = prepare(
        raw_of(pairs, timestamp=list(range(100))), PrepareSettings(split="global_time"), 0
    )
    assert tables.counts["cold"] == {"users": 2, "items": 1, "valid": 8, "test": 20}
    assert tables.users.height == 10
    assert tables.items.height == 10


@pytest.mark.parametrize(("keep", "rating"), [("last", 5.0), ("first", 1.0)])
def test_duplicates_go_by_time_then_file_order(keep, rating):
    frame = pl.DataFrame(
        {
            "user_id": ["1"] * 3,
            "item_id": ["7"] * 3,
            "rating": [1.0, 3.0, 5.0],
            "timestamp": [1, 2, 2],
            "order": [0, 1, 2],
        }
    )
    assert deduplicate(frame, keep)["rating"].to_list() == [rating]


def test_the_rating_that_stays_decides():
    pairs = [(u, i) for u in range(8) for i in range(8)] + [(0, 0)]
    tables = prepare(raw_of(pairs, rating=[4.0] * 64 + [1.0]), PrepareSettings(min_rating=3), 0)
    assert [s["dropped"] for s in tables.counts["steps"]] == [0, 1, 1, 0]
    assert tables.counts["interactions"] == 63


def test_dense_ids_sort_numbers_by_value():
    assert dense_ids(pl.Series(["10", "9", "9", "100"]), "user")["user_id"].to_list() == [
        "9",
        "10",
        "100",
    ]
    assert dense_ids(pl.Series(["10", "9", "a"]), "user")["user_id"].to_list() == ["10", "9", "a"]
    assert dense_ids(pl.Series(["7", "007", "8"]), "item")["item_id"].to_list() == ["007", "7", "8"]


def test_counts_tell_what_was_dropped(blocks):
    tables = prepare(blocks, PrepareSettings(min_rating=2, user_core=4, item_core=6), 0)
    counts = json.loads(json.dumps(tables.counts))
    steps = counts["steps"]
    assert [s["step"] for s in steps] == ["read", "duplicates", "min_rating", "core"]
    assert (
        len(blocks.interactions) - sum(s["dropped"] for s in steps)
        == counts["interactions"]
        == steps[-1]["interactions"]
    )
    assert counts["train"] + counts["valid"] + counts["test"] == counts["interactions"]
    assert counts["target"] == tables.train["target"].sum()
    assert counts["density"] == counts["interactions"] / counts["users"] / counts["items"]
    assert sum(b["count"] for b in counts["degree"]["item"]["histogram"]) == counts["items"]
    title = counts["text"]["title"]
    assert (title["share"], title["mean_words"], title["distinct"]) == (1.0, 1.0, counts["items"])
    assert set(title["words"].values()) == {1}
    assert counts["titles_that_are_ids"] == counts["items"]
    assert counts["text"]["description"]["distinct"] == 0


def test_degree_histogram_doubles():
    assert [
        (b["from"], b["to"], b["count"])
        for b in degrees(np.array([0, 1, 2, 3, 4, 7, 8]))["histogram"]
    ] == [
        (0, 0, 1),
        (1, 1, 1),
        (2, 3, 2),
        (4, 7, 2),
        (8, 15, 1),
    ]


def test_few_ratings_are_counted_one_by_one_and_many_in_bins():
    few = ratings(pl.Series([4.5, 1.0, None, 4.5]))["histogram"]
    assert few == [{"from": 1.0, "to": 1.0, "count": 1}, {"from": 4.5, "to": 4.5, "count": 2}]
    many = ratings(pl.Series([float(n) for n in range(101)]))["histogram"]
    assert [(b["from"], b["to"], b["count"]) for b in many] == [
        (10.0 * n, 10.0 * n + 10, 10 + (n == 9)) for n in range(10)
    ]
    assert ratings(pl.Series([None, None], dtype=pl.Float64)) == {}


def test_leakage_of_each_split(blocks):
    shares = {
        kind: prepare(blocks, PrepareSettings(split=kind), 0).counts["leakage"] for kind in KINDS
    }
    assert all(found["pairs_in_two_parts"] == 0 for found in shares.values())
    assert shares["global_time"]["test"] == {
        "older_than_training": 0.0,
        "older_than_own_training": 0.0,
    }
    assert shares["leave_last_out"]["test"]["older_than_own_training"] == 0.0
    assert shares["leave_last_out"]["test"]["older_than_training"] > 0.5
    assert shares["random"]["test"]["older_than_own_training"] > 0.5


def test_leakage_by_hand():
    def frame(*rows):
        return pl.DataFrame(rows, schema=["user", "item", "timestamp"], orient="row")

    train, valid, test = (
        frame((0, 0, 5), (1, 1, 9)),
        frame((0, 1, 4), (0, 0, 5)),
        frame((0, 2, 6), (1, 2, 8), (2, 2, 7), (2, 3, 10)),
    )
    assert leakage(train, valid, test) == {
        "pairs_in_two_parts": 1,
        "valid": {"older_than_training": 1.0, "older_than_own_training": 0.5},
        "test": {"older_than_training": 0.75, "older_than_own_training": 0.25},
    }
    unknown = {"older_than_training": None, "older_than_own_training": None}
    untimed = leakage(train, valid.with_columns(timestamp=pl.lit(None, pl.Int64)), test)
    assert untimed["valid"] == untimed["test"] == unknown
    assert leakage(train, valid.clear(), test)["valid"] == unknown


def test_protocol_by_hand():
    def frame(*rows):
        return pl.DataFrame(rows, schema=["user", "item", "timestamp"], orient="row")

    # the earliest test pairs: user 0 at 5, user 1 at 7
    test = frame((0, 3, 5), (0, 4, 9), (1, 3, 7), (4, 0, 8))
    # user 0: only what is later than 7 counts; user 1: what is later than 5
    train = frame((0, 0, 6), (0, 1, 8), (1, 0, 6), (1, 1, 5), (2, 0, 4))
    valid = frame((1, 2, 7), (2, 2, 5))
    found = protocol(train, valid, test, num_users=5, num_items=6)
    assert found == {
        "train_later_than_test": 2 / 5,
        "valid_later_than_test": 1 / 2,
        "users_without_history": 2,
        "tested_without_history": 1,
        "items_without_users": 4,
        "users_without_valid": 3,
        "users_without_test": 2,
    }
    untimed = train.with_columns(timestamp=pl.lit(None, pl.Int64))
    found = protocol(untimed, valid, test, num_users=5, num_items=6)
    assert found["train_later_than_test"] is found["valid_later_than_test"] is None
    alone = protocol(train, valid, frame((0, 3, 5)), num_users=5, num_items=6)
    assert alone["train_later_than_test"] == 1 / 5


def test_each_split_says_what_it_shows_of_the_future(blocks):
    said = {
        kind: prepare(blocks, PrepareSettings(split=kind), 0).counts["protocol"] for kind in KINDS
    }
    assert said["global_time"]["train_later_than_test"] == 0
    assert said["global_time"]["valid_later_than_test"] == 0
    assert 0.5 < said["leave_last_out"]["train_later_than_test"] < 1
    assert 0.9 < said["random"]["train_later_than_test"] <= 1
    assert said["random"]["users_without_history"] == 0
    assert said["random"]["users_without_valid"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"min_rating": 6},
            r"prepare\.min_rating = 6\.0: leaves nothing, ratings are 1\.0\.\.5\.0; lower it",
        ),
        (
            {"user_core": 50},
            r"prepare\.user_core = 50, prepare\.item_core = 5: leave nothing of .* lower them",
        ),
    ],
)
def test_nothing_left_names_the_parameter(blocks, change, message):
    with pytest.raises(ValueError, match=message):
        prepare(blocks, PrepareSettings(**change), 0)


def test_a_given_split_follows_the_source(blocks):
    with pytest.raises(
        ValueError, match=r"prepare\.split = given: the source is not split; choose another split"
    ):
        prepare(blocks, PrepareSettings(split="given"), 0)
    part = np.arange(len(blocks.interactions)) % 4
    part = np.select([part == 1, part == 2], [splits.VALID, splits.TEST], splits.TRAIN)
    raw = Raw(
        blocks.interactions.with_columns(pl.Series("part", part, pl.Int8)),
        blocks.items,
        blocks.counts,
    )
    tables = prepare(raw, PrepareSettings(split="given", user_core=1, item_core=1), 0)
    for name, kind in (("train", splits.TRAIN), ("valid", splits.VALID), ("test", splits.TEST)):
        pairs = getattr(tables, name).join(tables.users, on="user").join(tables.items, on="item")
        expected = raw.interactions.filter(part=kind).select("user_id", "item_id")
        assert set(pairs.select("user_id", "item_id").rows()) == set(expected.rows())


@pytest.mark.parametrize(("since", "until"), [(100, 500), (None, 500), (100, None)])
def test_a_span_of_time_comes_before_the_duplicates(blocks, since, until):
    counts = prepare(
        blocks, PrepareSettings(since=since, until=until, user_core=1, item_core=1), 0
    ).counts
    time = blocks.interactions["timestamp"].to_numpy()
    kept = (time >= (since or 0)) & (time <= (until or time.max()))
    assert [step["step"] for step in counts["steps"]] == ["read", "time", "duplicates", "core"]
    assert counts["interactions"] == kept.sum() < time.size
    assert (counts["timestamp"]["min"], counts["timestamp"]["max"]) == (
        time[kept].min(),
        time[kept].max(),
    )


def test_a_span_of_time_that_leaves_nothing_names_what_there_is(blocks):
    with pytest.raises(
        ValueError,
        match=r"prepare\.since = 9999, prepare\.until = None: leave nothing, times are 0\.\.\d+; "
        r"change",
    ):
        prepare(blocks, PrepareSettings(since=9999), 0)


def test_no_ratings_no_minimum():
    with pytest.raises(
        ValueError, match=r"prepare\.min_rating = 3\.0: the dataset has no ratings; set it to null"
    ):
        prepare(raw_of([(0, 0)]), PrepareSettings(min_rating=3), 0)


def test_time_splits_need_times():
    raw = raw_of([(u, i) for u in range(6) for i in range(6)])
    with pytest.raises(
        ValueError,
        match=r"prepare\.split = leave_last_out: needs a timestamp .* 36 of 36 .*set "
        r"prepare\.split: random",
    ):
        prepare(raw, PrepareSettings(split="leave_last_out"), 0)


def test_empty_part_names_the_parameter():
    raw = raw_of([(u, i) for u in range(6) for i in range(5)])
    with pytest.raises(
        ValueError,
        match=r"gives no valid item.*raise prepare\.user_core \(= 5\), or raise "
        r"prepare\.valid_share",
    ):
        prepare(raw, PrepareSettings(valid_share=0.0001), 0)


def test_new_items_are_for_test_alone(blocks):
    params = PrepareSettings(user_core=1, item_core=1, new_item_share=0.2)
    found, plain = (
        prepare(blocks, params, 3),
        prepare(blocks, params.model_copy(update={"new_item_share": 0.0}), 3),
    )
    trained = set(found.train["item"]) | set(found.valid["item"])
    new = set(found.items["item"]) - trained
    assert len(new) == round(0.2 * found.items.height)
    assert not set(plain.items["item"]) - set(plain.train["item"])
    everything = [
        pl.concat([t.train.drop("target"), t.valid, t.test]).sort("user", "item")
        for t in (found, plain)
    ]
    assert everything[0].equals(everything[1])
    assert found.train["user"].n_unique() == found.users.height
    assert found.counts["cold"]["items"] == len(new)


def test_what_happens_to_new_items_moves_nothing_else(blocks):
    """Half of their interactions taken away: the same training, validation and target pairs."""
    params = PrepareSettings(user_core=1, item_core=1, new_item_share=0.2)
    first = prepare(blocks, params, 3)
    new = first.items.filter(~pl.col("item").is_in(first.train["item"].implode()))[
        "item_id"
    ].implode()
    odd = pl.int_range(pl.len()) % 2 == 1
    fewer = Raw(
        blocks.interactions.filter(~pl.col("item_id").is_in(new) | odd), blocks.items, blocks.counts
    )
    second = prepare(fewer, params, 3)
    assert second.items.height == first.items.height
    assert second.test.height < first.test.height
    # their places in the whole history move, for that has lost some of the new items
    assert second.train.drop("position").equals(first.train.drop("position"))
    assert second.valid.drop("position").equals(first.valid.drop("position"))


def test_nobody_is_left_without_a_known_item():
    """The last one drawn of their items stays known: here each user has two, and nearly all items
    are wanted.
    """
    user, item = np.repeat(np.arange(10), 2), np.arange(20)
    new = splits.choose_new_items(user, item, 0.95, np.random.default_rng(0))
    assert (~new[item]).reshape(10, 2).any(1).all()
    assert 9 <= new.sum() <= 10
