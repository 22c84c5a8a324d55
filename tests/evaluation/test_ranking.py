"""Check exact top-K against a plain sort, with many ties and masked items."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import glta.evaluation.ranking
from glta.data.interactions import Interactions
from glta.evaluation.ranking import NO_ITEM, rank, rank_all, top_k

# few distinct values make many ties; the two zeros are equal but differ in their bits
VALUES = st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1.0, 1.0 + 2**-23, 2.0])
SCORES = hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 12)), elements=VALUES)


def slow_top_k(scores: np.ndarray, k: int) -> tuple[list, list]:
    """Sort (score descending, item ascending), drop -inf, fill up."""
    all_items = []
    all_scores = []
    for row in scores.tolist():
        best_first = sorted(range(len(row)), key=lambda i: (-row[i], i))
        order = [i for i in best_first if row[i] > -np.inf][:k]
        fill = k - len(order)
        all_items.append(order + [NO_ITEM] * fill)
        all_scores.append([row[i] for i in order] + [-np.inf] * fill)
    return all_scores, all_items


@given(SCORES, st.integers(1, 15), st.sampled_from([1, glta.evaluation.ranking.MIN_PART]))
@settings(max_examples=300, deadline=None)
def test_top_k_equals_a_sort(scores, k, min_part):
    before = scores.copy()
    with pytest.MonkeyPatch.context() as monkeypatch:
        # with parts of one item or more, even these short rows are divided into parts
        monkeypatch.setattr("glta.evaluation.ranking.MIN_PART", min_part)
        best, items = top_k(torch.from_numpy(scores), k)
    slow_best, slow_items = slow_top_k(scores, k)
    assert items.tolist() == slow_items
    assert best.tolist() == slow_best
    assert np.array_equal(before, scores)


@pytest.mark.parametrize("k", [1, 5, 100])
@pytest.mark.parametrize("values", [50, 10**6])
def test_top_k_equals_a_sort_on_long_rows(k, values):
    scores = np.random.default_rng(0).integers(0, values, (20, 3000)).astype(np.float32)
    best, items = top_k(torch.from_numpy(scores), k)
    slow_best, slow_items = slow_top_k(scores, k)
    assert items.tolist() == slow_items
    assert best.tolist() == slow_best


@pytest.mark.parametrize(
    "row", [[1.0, np.nan], [np.nan, np.nan], [-np.inf, np.nan], [1.0] * 1999 + [np.nan]]
)
def test_nan_is_an_error(row):
    with pytest.raises(ValueError, match="NaN"):
        top_k(torch.tensor([row]), 1)


@given(st.data())
@settings(deadline=None)
def test_rank_masks_and_does_not_depend_on_blocks(data):
    num_users = data.draw(st.integers(1, 7))
    num_items = data.draw(st.integers(1, 9))
    scores = data.draw(hnp.arrays(np.float32, (num_users, num_items), elements=VALUES))
    known = data.draw(hnp.arrays(bool, (num_users, num_items)))
    users = np.array(data.draw(st.permutations(range(num_users))), np.int64)
    users = users[: data.draw(st.integers(0, num_users))]
    k = data.draw(st.integers(1, 10))
    block_bytes = data.draw(st.integers(1, 200))
    exclude = Interactions.of(*known.nonzero(), num_users, num_items)
    blocks = list(
        rank(
            lambda part: scores[part].copy(),
            users,
            k=k,
            exclude=exclude,
            block_bytes=block_bytes,
        )
    )
    slow_best, slow_items = slow_top_k(np.where(known, -np.inf, scores)[users], k)
    assert [u for part, _, _ in blocks for u in part] == users.tolist()
    assert [row for _, items, _ in blocks for row in items.tolist()] == slow_items
    assert [row for _, _, best in blocks for row in best.tolist()] == slow_best
    items, best = rank_all(lambda part: scores[part].copy(), users, k=k, exclude=exclude)
    assert items.shape == best.shape == (len(users), k)
    assert items.tolist() == slow_items


def test_a_user_who_has_everything_gets_an_empty_list():
    everything = Interactions.of([0, 0], [0, 1], 2, 2)
    items, best = rank_all(
        lambda users: torch.zeros(len(users), 2), np.array([0, 1]), k=3, exclude=everything
    )
    assert items.tolist() == [[NO_ITEM] * 3, [0, 1, NO_ITEM]]
    assert np.isneginf(best[0]).all()
