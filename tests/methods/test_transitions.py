"""Transitions by hand, against a slow form, and without what is held out."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from glta.data.sequences import Sequences
from glta.methods.shared.settings import TransitionSettings
from glta.methods.shared.text_words import tfidf
from glta.methods.shared.transition_counts import transition_counts
from glta.methods.transitions.model import Transitions
from glta.testing.blocks import NUM_ITEMS, NUM_USERS
from glta.testing.contract import MethodContract

EVERYONE = np.arange(NUM_USERS)


def backed_off(name: str, **values) -> dict:
    """Return values with which the items of a block are reached from each other."""
    return {f"settings.{name}.{k}": v for k, v in {"decay": 0.5, "max_gap": 2, **values}.items()}


class TestTransitions(MethodContract):
    name = "transitions"
    values: ClassVar = backed_off("transitions")


class TestTextTransitions(MethodContract):
    name = "transitions-text"
    values: ClassVar = backed_off("transitions-text")


class TestStateTransitions(MethodContract):
    name = "transitions-text"
    values: ClassVar = backed_off("transitions-text", text="states")


HISTORIES = [[0, 1, 2], [3, 1, 2], [0, 1], [2], []]


def scores_of(**settings) -> np.ndarray:
    made = Transitions.of(Sequences.of_lists(HISTORIES, 4), TransitionSettings(**settings))
    return made.score(np.arange(5))


def test_the_defaults_count_what_follows_the_newest_item():
    counts = transition_counts(Sequences.of_lists(HISTORIES, 4), 1).toarray()
    assert counts.tolist() == [[0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    expected = np.zeros((5, 4))
    expected[2, 2] = np.log(3)  # item 1 is newest, two users have 2 after it
    np.testing.assert_allclose(scores_of(), expected, rtol=1e-6)


def test_gaps_decay_and_popularity():
    counts = transition_counts(Sequences.of_lists(HISTORIES, 4), 2).toarray()
    assert counts.tolist() == [[0, 2, 0.5, 0], [0, 0, 2, 0], [0, 0, 0, 0], [0, 1, 0.5, 0]]
    found = scores_of(max_gap=2, decay=0.5, popularity=0.1)
    popularity = 0.1 * np.log([3, 4, 4, 2])
    from_history = np.array([0, 0.25 * np.log(3), 0.25 * np.log(1.5) + 0.5 * np.log(3), 0])
    np.testing.assert_allclose(found[0], popularity + from_history, rtol=1e-6)
    np.testing.assert_allclose(found[4], popularity, rtol=1e-6)


def test_counts_equal_a_slow_form():
    rng = np.random.default_rng(0)
    lists = [rng.choice(12, rng.integers(0, 10), replace=False) for _ in range(30)]
    expected = np.zeros((12, 12))
    for own in lists:
        for at, item in enumerate(own):
            for gap, other in enumerate(own[at + 1 : at + 4], start=1):
                expected[item, other] += 1 / gap
    found = transition_counts(Sequences.of_lists(lists, 12), 3).toarray()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # a gap longer than every history, and no histories
    assert transition_counts(Sequences.of_lists(lists, 12), 100).shape == (12, 12)
    assert transition_counts(Sequences.of_lists([], 12), 2).nnz == 0


def moved(prepared, name: str):
    """Exchange the items of a part between the users of a block."""
    pairs = prepared.parts[name].collect()
    item = (pairs["item"] + 2) % NUM_ITEMS
    return replace(prepared, parts={**prepared.parts, name: pairs.with_columns(item=item).lazy()})


@pytest.mark.parametrize("name", ["transitions", "transitions-text"])
def test_held_out_items_change_no_score_before_their_time(world, name):
    """A validation item counts at test time alone, and a test item never."""
    prepared = world.prepared
    model = world.train(name)
    for part in ("valid", "test"):
        other = moved(prepared, part)
        again = world.train(name, prepared=other)
        np.testing.assert_array_equal(again.score(EVERYONE), model.score(EVERYONE))
        at_test = again.with_histories(other.seen_sequences).score(EVERYONE)
        same = at_test == model.with_histories(prepared.seen_sequences).score(EVERYONE)
        assert same.all() == (part == "test")
    other = moved(prepared, "train")
    assert (world.train(name, prepared=other).score(EVERYONE) != model.score(EVERYONE)).any()


def test_at_test_time_the_validation_item_is_the_newest(world):
    model = world.train("transitions")
    assert isinstance(model, Transitions)
    before = model.score(EVERYONE)
    later = model.with_histories(world.prepared.seen_sequences).score(EVERYONE)
    for user in (0, 5, 12):
        last, newest = (
            sequences.of_user(user).item[-1]
            for sequences in (world.prepared.sequences, world.prepared.seen_sequences)
        )
        np.testing.assert_allclose(before[user], model.follows.toarray()[last], rtol=1e-6)
        np.testing.assert_allclose(later[user], model.follows.toarray()[newest], rtol=1e-6)


def test_texts_are_compared_with_those_of_the_history(world):
    plain = world.train("transitions").score(EVERYONE)
    found = world.train("transitions-text", {"settings.transitions-text.text_weight": 2})
    similar = (found.text @ found.text.T).toarray()
    newest = world.prepared.sequences.last(1).item[:, 0]
    expected = plain + 2 * np.where(newest[:, None] >= 0, similar[newest], 0)
    np.testing.assert_allclose(found.score(EVERYONE), expected, atol=1e-5)
    none = world.train("transitions-text", {"settings.transitions-text.text_weight": 0})
    np.testing.assert_array_equal(none.score(EVERYONE), plain)


def test_tfidf_of_any_language():
    found = tfidf(pl.Series(["Red roses", "red ROBOT", "蓝色机器人", "机器人", "", "x"])).toarray()
    similar = found @ found.T
    np.testing.assert_allclose(similar.diagonal(), [1, 1, 1, 1, 0, 0], atol=1e-6)
    assert 0 < similar[0, 1] < 1
    assert 0 < similar[2, 3] < 1
    assert similar[0, 2] == 0
    assert tfidf(pl.Series(["", "x"])).nnz == 0


@pytest.mark.parametrize("name", ["transitions", "transitions-text", "sasrec"])
def test_data_without_times_are_refused(world, name):
    train = world.prepared.parts["train"].with_columns(timestamp=pl.lit(None, pl.Int64))
    untimed = replace(world.prepared, parts={**world.prepared.parts, "train": train})
    with pytest.raises(ValueError, match=f"^{name}: needs a time in every training interaction"):
        world.train(name, prepared=untimed)


def test_other_items_are_refused(world):
    with pytest.raises(ValueError, match="histories over 3 items: this model has 20 items"):
        world.train("transitions").with_histories(Sequences.of_lists([[1]], 3))
