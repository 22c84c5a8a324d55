"""Check every metric against a loop over users that follows its definition word by word."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.groups import (
    group_recall,
    item_group_accuracy,
    most_popular,
    popularity_groups,
)
from glta.evaluation.measure import measure_lists, read_lists
from glta.evaluation.metrics import ACCURACY, BEYOND_ACCURACY, accuracy, beyond_accuracy, gini, hits
from glta.evaluation.settings import EvaluateSettings
from glta.params.check import METRICS


def slow_accuracy(shown: list[int], relevant: set[int], k: int) -> dict[str, float]:
    dcg = ap = found = 0.0
    first = None
    for rank, item in enumerate(shown[:k], 1):
        if item in relevant:
            found += 1
            dcg += 1 / math.log2(rank + 1)
            ap += found / rank
            first = first or rank
    best = min(k, len(relevant))
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, best + 1))
    return {
        "precision": found / k,
        "recall": found / len(relevant),
        "ndcg": dcg / ideal,
        "mrr": 1 / first if first else 0.0,
        "map": ap / best,
        "hit_rate": float(found > 0),
    }


@st.composite
def worlds(draw):
    """Draw lists without repeats, possibly short, and relevant and training sets of every user."""
    num_users = draw(st.integers(1, 6))
    num_items = draw(st.integers(1, 12))
    item = st.integers(0, num_items - 1)
    lists = [draw(st.lists(item, unique=True, max_size=num_items)) for _ in range(num_users)]
    relevant = [draw(st.sets(item, min_size=1)) for _ in range(num_users)]
    train = [draw(st.sets(item)) for _ in range(num_users)]
    return num_items, lists, relevant, train


def pairs(sets, num_items: int) -> Interactions:
    user = [u for u, s in enumerate(sets) for _ in s]
    item = [i for s in sets for i in s]
    return Interactions.of(user, item, len(sets), num_items)


def padded(lists, width: int) -> np.ndarray:
    return np.array([(row + [-1] * width)[:width] for row in lists]).reshape(len(lists), width)


@given(worlds(), st.integers(1, 15), st.integers(1, 15))
def test_accuracy_follows_its_definition(world, k, width):
    num_items, lists, relevant, _ = world
    items_BK = padded(lists, width)
    users = np.arange(len(lists))
    of = pairs(relevant, num_items)
    fast = accuracy(hits(items_BK, users, relevant=of), of.user_degree, k=k)
    for user in users:
        slow = slow_accuracy(lists[user][:width], relevant[user], k)
        assert {name: v[user] for name, v in fast.items()} == pytest.approx(slow)
        assert all(0 <= v[user] <= 1 + 1e-12 for v in fast.values())


@given(worlds(), st.integers(1, 15))
def test_beyond_accuracy_follows_its_definition(world, k):
    num_items, lists, _, train = world
    of = pairs(train, num_items)
    popular = most_popular(of.item_degree, 0.25)
    fast = beyond_accuracy(padded(lists, k), train=of, popular_I=popular)
    shown = [i for row in lists for i in row[:k]]
    if not shown:
        assert set(fast.values()) == {0.0}
        return
    num_users = max(sum(bool(s) for s in train), 1)
    owners = [max(sum(i in s for s in train), 1) for i in range(num_items)]
    exposure = [shown.count(i) for i in range(num_items)]
    slow = {
        "coverage": len(set(shown)) / num_items,
        "novelty": sum(-math.log2(owners[i] / num_users) for i in shown) / len(shown),
        "gini": sum(abs(a - b) for a in exposure for b in exposure)
        / (2 * num_items * sum(exposure)),
        "popularity_share": sum(bool(popular[i]) for i in shown) / len(shown),
    }
    assert fast == pytest.approx(slow)


@given(worlds(), st.integers(1, 15))
def test_item_groups_follow_their_definition(world, k):
    num_items, lists, relevant, train = world
    items_BK = padded(lists, k)
    users = np.arange(len(lists))
    of = pairs(relevant, num_items)
    member = pairs(train, num_items).item_degree <= 1
    wanted = [(row, {i for i in s if member[i]}) for row, s in zip(lists, relevant, strict=True)]
    slow = [slow_accuracy(row, s, k) for row, s in wanted if s]
    fast = item_group_accuracy(items_BK, users, relevant=of, member_I=member, k=k)
    assert fast == pytest.approx(
        {name: np.mean([s[name] for s in slow]) for name in ("recall", "ndcg")} if slow else {}
    )
    recall = group_recall(items_BK, users, relevant=of, group_I=member.astype(int), num_groups=2)
    for group in range(2):
        total = sum(member[i] == group for s in relevant for i in s)
        found = sum(
            member[i] == group
            for row, s in zip(lists, relevant, strict=True)
            for i in row[:k]
            if i in s
        )
        assert recall[group] == (pytest.approx(found / total) if total else None)


def test_known_answers():
    relevant = pairs([{1, 2, 9}], 10)
    hits_BK = hits(np.array([[5, 1, 7, 2, -1]]), np.array([0]), relevant=relevant)
    values = accuracy(hits_BK, np.array([3]), k=5)
    dcg = 1 / math.log2(3) + 1 / math.log2(5)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    expected = {
        "precision": 2 / 5,
        "recall": 2 / 3,
        "ndcg": dcg / ideal,
        "mrr": 1 / 2,
        "map": (1 / 2 + 2 / 4) / 3,
    }
    assert {name: v[0] for name, v in values.items()} == pytest.approx(expected | {"hit_rate": 1})


def test_a_perfect_list_scores_one_and_a_list_longer_than_the_catalogue_is_padded():
    relevant = pairs([{0, 1}], 2)
    hits_BK = hits(np.array([[1, 0]]), np.array([0]), relevant=relevant)
    values = accuracy(hits_BK, np.array([2]), k=20)
    assert values.pop("precision")[0] == pytest.approx(2 / 20)
    assert {v[0] for v in values.values()} == {1.0}


def test_no_item_is_never_a_hit():
    empty = np.array([[-1, -1]])
    assert not hits(empty, np.array([0]), relevant=pairs([{0, 1}], 2)).any()


def test_users_without_relevant_items_are_refused():
    with pytest.raises(ValueError, match="leave them out"):
        accuracy(np.zeros((1, 3), bool), np.array([0]), k=3)


def test_gini_of_equal_and_of_one():
    assert gini(np.array([4, 4, 4])) == 0
    assert gini(np.array([0, 0, 9])) == pytest.approx(2 / 3)
    assert gini(np.zeros(3)) == 0


def test_popular_items_ties_and_rounding():
    assert most_popular(np.array([1, 3, 3, 3, 0]), 0.4).tolist() == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert most_popular(np.ones(30), 0.1).sum() == 3
    assert most_popular(np.ones(4), 0.01).sum() == 1


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(1, 6))
def test_popularity_groups_are_ordered_and_balanced(degrees, num_groups):
    degree = np.array(degrees)
    group = popularity_groups(degree, num_groups)
    assert ((group >= 0) & (group < num_groups)).all()
    for low, high in zip(range(num_groups), range(1, num_groups), strict=False):
        if (group == low).any() and (group == high).any():
            assert degree[group == low].min() >= degree[group == high].max()
    mass = np.bincount(group, degree, num_groups)
    assert (mass <= degree.sum() / num_groups + degree.max() + 1e-9).all()


def test_definitions_cover_the_parameters():
    assert tuple(ACCURACY) == METRICS
    train = pairs([{0}], 1)
    values = beyond_accuracy(np.array([[0]]), train=train, popular_I=np.array([True]))
    assert set(values) == set(BEYOND_ACCURACY)


def small_world() -> Prepared:
    """Make three users and five items. User 2 has no history, items 2 to 4 no training user."""
    train = pairs([{0, 1}, {0}, set()], 5)
    valid = pairs([{2}, {1}, set()], 5)
    test = pairs([{3, 4}, {2}, {0}], 5)
    users = pl.DataFrame({"user": [0, 1, 2], "user_id": ["a", "b", "c"]})
    texts = {
        "title": ["t", "t", "", "t", "t"],
        "description": ["d", "", " ", "", ""],
        "categories": [["x"], [], [], [], []],
    }
    items = pl.DataFrame({"item": range(5), "item_id": list("vwxyz")} | texts)
    return Prepared(train, valid, test, train, pairs([set()] * 3, 5), users, items)


def frame(rows: dict[int, list[int]]) -> pl.DataFrame:
    flat = [(u, r, i) for u, items in rows.items() for r, i in enumerate(items, 1)]
    return pl.DataFrame(
        flat, schema={"user": pl.Int32, "rank": pl.Int16, "item": pl.Int32}, orient="row"
    )


def test_measures_by_hand():
    options = EvaluateSettings(
        cutoffs=[2, 1], cold_user_items=1, cold_item_users=1, popular_share=0.2
    )
    result = measure_lists(
        small_world(),
        valid=frame({0: [2], 1: [3]}),
        test=frame({0: [4], 1: [3, 2], 2: [1]}),
        fitted=small_world().train,
        options=options,
    )
    m = result.metrics
    assert m["recall@2"] != m["recall@1"]
    assert m["recall@1"] == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert m["mrr@2"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert m["cold_users/hit_rate@2"] == 0.5
    assert m["warm_users/hit_rate@2"] == 1
    # user 2 is not counted: its only test item is item 0, which is warm
    assert m["cold_items/recall@1"] == pytest.approx((1 / 2 + 0) / 2)
    assert m["warm_items/recall@2"] == 0
    assert m["valid/recall@1"] == 0.5
    assert m["coverage@2"] == pytest.approx(4 / 5)
    assert m["popularity_share@2"] == 0
    assert result.users["user"].to_list() == [0, 1, 2]
    assert result.users["num_train"].to_list() == [2, 1, 0]
    assert result.users["ndcg@2"].mean() == pytest.approx(m["ndcg@2"])
    assert result.groups["cold_items"] == {"items": 4, "pairs": 3}
    assert sum(g["test"] for g in result.popularity) == 4
    assert sum(g["items"] for g in result.popularity) == 5


def test_new_items_by_hand():
    """Items 2, 3 and 4 have no training user. Users 0 and 1 have some of them in test."""
    result = measure_lists(
        small_world(),
        valid=frame({}),
        test=frame({0: [4], 1: [3, 2], 2: [1]}),
        fitted=small_world().train,
        options=EvaluateSettings(cutoffs=[1, 2]),
        new=frame({0: [4, 3], 1: [3, 2]}),
    )
    m = result.metrics
    assert m["new_items/recall@1"] == pytest.approx((1 / 2 + 0) / 2)
    assert m["new_items/recall@2"] == pytest.approx((1 / 2 + 1) / 2)
    assert m["among_new/recall@1"] == pytest.approx((1 / 2 + 0) / 2)
    assert m["among_new/recall@2"] == 1
    assert m["among_new/ndcg@2"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert result.users["among_new/recall@1"].to_list() == [0.5, 0, None]
    assert result.users["new_items/recall@2"].mean() == pytest.approx(m["new_items/recall@2"])
    assert result.groups["new_items"] == {"items": 3, "pairs": 3}


def test_items_with_validation_users_are_not_new_to_a_refit():
    """Item 2 has a validation user. So user 1, whose test item it is, has no new item in test."""
    world = small_world()
    result = measure_lists(
        world,
        valid=frame({}),
        test=frame({0: [4], 1: [3, 2], 2: [1]}),
        options=EvaluateSettings(cutoffs=[1, 2]),
        fitted=world.seen,
        new=frame({0: [4, 3]}),
    )
    assert result.groups["new_items"] == {"items": 2, "pairs": 2}
    assert result.metrics["new_items/recall@2"] == 1 / 2
    assert result.users["among_new/recall@1"].to_list() == [0.5, None, None]
    # the other groups stay those of the training pairs
    assert result.groups["cold_items"]["pairs"] == 4


def test_measuring_refuses_lists_that_do_not_fit():
    good = frame({0: [2], 1: [3]})
    for bad, why in (
        ({0: [0]}, "known to have"),
        ({0: [2]}, "known to have"),
        ({0: [7]}, "does not have"),
        ({0: [4, 3, 4]}, "twice"),
    ):
        with pytest.raises(ValueError, match=why):
            measure_lists(
                small_world(),
                valid=good,
                test=frame(bad),
                fitted=small_world().train,
                options=EvaluateSettings(),
            )


@pytest.mark.parametrize("ranks", [[0, 1], [2, 2]])
def test_a_wrong_rank_is_refused(ranks):
    relevant = pairs([{3, 4}], 5)
    lists = pl.DataFrame({"user": [0, 0], "rank": ranks, "item": [3, 4]})
    with pytest.raises(ValueError, match="rank"):
        read_lists(lists, relevant, known=pairs([set()], 5), k=2)


def test_groups_without_test_items_have_no_metrics():
    result = measure_lists(
        small_world(),
        valid=frame({}),
        test=frame({}),
        fitted=small_world().train,
        options=EvaluateSettings(cutoffs=[3], cold_user_items=9),
    )
    assert "warm_users/ndcg@3" not in result.metrics
    assert result.metrics["ndcg@3"] == 0
    assert result.metrics["coverage@3"] == 0


def test_lists_of_new_items_alone_are_compared_for_users_with_training_items():
    """User 1 has none, so its lists say nothing of a method. It counts in lists of all items."""
    world = small_world()
    kept = world.train.user != 1
    train = Interactions(world.train.user[kept], world.train.item[kept], 3, 5)
    result = measure_lists(
        replace(world, train=train),
        valid=frame({}),
        test=frame({0: [4], 1: [3, 2], 2: [1]}),
        fitted=train,
        options=EvaluateSettings(cutoffs=[1, 2]),
        new=frame({0: [4, 3]}),
    )
    assert result.users["among_new/recall@2"].to_list() == [1, None, None]
    assert result.metrics["among_new/recall@2"] == 1
    assert result.metrics["new_items/recall@2"] == pytest.approx((1 / 2 + 1) / 2)
