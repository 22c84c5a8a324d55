"""Users without a history get the most popular items from every method."""

import numpy as np
import pytest

from glta.data.interactions import Interactions
from glta.evaluation.ranking import rank_all
from glta.methods.base import Scorer
from glta.methods.shared.without_history import recommend_to_all

FITTED = Interactions.of([0, 0, 0, 2, 2, 4], [1, 2, 3, 2, 3, 3], 5, 6)
BY_POPULARITY = [3, 2, 1, 0, 4, 5]


class HighestId(Scorer):
    """Score an item by its id."""

    def score(self, users):
        return np.tile(np.arange(6, dtype=np.float32), (users.size, 1))

    def save(self, folder):
        raise NotImplementedError

    load = save


def test_only_users_without_history_get_the_popular_items():
    users = np.array([1, 2, 3, 4])
    exclude = Interactions.of([3, 4], [3, 5], 5, 6)
    items, scores = recommend_to_all(HighestId(), users, 6, fitted=FITTED, exclude=exclude)
    assert items[0].tolist() == BY_POPULARITY
    assert scores[0].tolist() == [3, 2, 1, 0, 0, 0]
    assert items[1].tolist() == [5, 4, 3, 2, 1, 0]
    assert items[2].tolist() == [2, 1, 0, 4, 5, -1], "without what they have"
    assert items[3].tolist() == [4, 3, 2, 1, 0, -1]


def test_users_may_be_scored_by_other_pairs_than_those_that_popularity_is_counted_in():
    users = np.array([0, 1, 3])
    nothing = Interactions.of([], [], 5, 6)
    scored = Interactions.of([0, 1], [1, 4], 5, 6)
    items, _ = recommend_to_all(
        HighestId(), users, 6, fitted=FITTED, exclude=nothing, scored=scored
    )
    assert items.tolist() == [[5, 4, 3, 2, 1, 0], [5, 4, 3, 2, 1, 0], BY_POPULARITY]


@pytest.mark.parametrize("users", [[0, 2, 4], [1, 3], []])
def test_any_mix_of_users(users):
    users = np.array(users, np.int64)
    nothing = Interactions.of([], [], 5, 6)
    items, scores = recommend_to_all(HighestId(), users, 3, fitted=FITTED, exclude=nothing)
    expected, _ = rank_all(HighestId().score, users, k=3, exclude=nothing)
    without = FITTED.user_degree[users] == 0
    expected[without] = BY_POPULARITY[:3]
    assert items.tolist() == expected.tolist()
    assert scores.shape == (users.size, 3)
