"""Validation on some of the users."""

from dataclasses import replace

import numpy as np
import pytest

from glta.data.interactions import Interactions
from glta.evaluation.ranking import rank_all
from glta.evaluation.validation import lists_ndcg, measured_users, validation_ndcg
from glta.testing.blocks import NUM_ITEMS, block_prepared


def test_most_users_are_spread_over_all_and_none_is_asked_twice():
    prepared = block_prepared()
    everyone = np.flatnonzero(prepared.valid.user_degree)
    asked: list[int] = []

    def score(users: np.ndarray) -> np.ndarray:
        asked.extend(users.tolist())
        return np.random.default_rng(users).random((len(users), NUM_ITEMS), np.float32)

    for most, expected in ((0, everyone.size), (5, 5), (everyone.size + 9, everyone.size)):
        asked.clear()
        value = validation_ndcg(prepared, score, most_users=most)
        assert len(asked) == len(set(asked)) == expected
        assert 0 < value < 1
    asked.clear()
    validation_ndcg(prepared, score, most_users=5)
    assert asked[0] == everyone[0] and asked[-1] == everyone[-1]


def test_the_value_is_the_mean_over_those_who_are_asked():
    prepared = block_prepared()
    valid = prepared.valid
    everyone = np.flatnonzero(valid.user_degree)
    right = everyone[[0, -1]]

    def score(users: np.ndarray) -> np.ndarray:
        found = np.zeros((len(users), NUM_ITEMS), np.float32)
        for row, user in enumerate(users):
            if user in right:
                found[row, valid.items_of(user)] = 1
        return found - np.arange(NUM_ITEMS) * 1e-6

    assert validation_ndcg(prepared, score, most_users=2) == pytest.approx(1.0)
    assert validation_ndcg(prepared, score) < 0.9


@pytest.mark.parametrize("most", [0, 5])
def test_lists_have_the_value_of_the_scores_that_they_were_made_from(most):
    prepared = block_prepared()

    def score(users: np.ndarray) -> np.ndarray:
        return np.stack([np.random.default_rng(user).random(NUM_ITEMS) for user in users])

    def lists(users: np.ndarray, k: int) -> np.ndarray:
        return rank_all(score, users, k=k, exclude=prepared.train)[0]

    expected = validation_ndcg(prepared, score, most_users=most)
    assert lists_ndcg(prepared, lists, most_users=most) == pytest.approx(expected, abs=1e-15)
    assert 0 < expected < 1


def test_lists_without_validation_pairs_are_an_error():
    prepared = block_prepared()
    none = replace(prepared, valid=Interactions.of([], [], prepared.train.num_users, NUM_ITEMS))
    with pytest.raises(ValueError, match="no validation pairs"):
        lists_ndcg(none, lambda users, k: np.zeros((len(users), k), np.int64))


def test_users_without_training_items_have_no_say_in_a_choice():
    """Every method gives them the most popular items, whatever their scores are."""
    prepared = block_prepared()
    valid, train = prepared.valid, prepared.train
    cold = int(np.flatnonzero(valid.user_degree)[0])
    kept = train.user != cold
    size = (train.num_users, train.num_items)
    without = replace(prepared, train=Interactions(train.user[kept], train.item[kept], *size))

    def scores_of(good: bool):
        def score(users: np.ndarray) -> np.ndarray:
            assert cold not in users
            found = np.random.default_rng(0).random((len(users), NUM_ITEMS)).astype(np.float32)
            found[valid.rows(users)] += good
            return found

        return score

    assert validation_ndcg(without, scores_of(True)) == pytest.approx(1.0)
    assert validation_ndcg(without, scores_of(False)) < 0.9
    assert cold in measured_users(prepared)
    alone = replace(without, valid=Interactions(np.array([cold]), np.array([0]), *size))
    np.testing.assert_array_equal(measured_users(alone), [cold])  # there is no one else
