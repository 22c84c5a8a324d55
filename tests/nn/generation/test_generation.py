"""Beams and exact scores in the tree of code sequences, against sums that are written out."""

from itertools import product

import numpy as np
import pytest
import torch

from glta.nn.generation.beam_search import NO_CODES, _best, beam_search
from glta.nn.generation.catalogue_scores import catalogue_scores
from glta.nn.generation.prefix_tree import PrefixTree
from glta.training.stopping import Diverged

NUM_OWNERS = 7
NUM_CODES = 5
STEP = torch.tensor([0.37, 1.93, 4.41])


def some_codes(num_items: int = 60, length: int = 3, seed: int = 0) -> np.ndarray:
    """Draw different sequences; some prefixes have one item, others many."""
    every = np.array(list(product(range(NUM_CODES), repeat=length)), np.int32)
    every = every[(every[:, 0] != 1) & ((every[:, 0] != 2) | (every[:, -1] == 3))]
    return np.random.default_rng(seed).permutation(every)[:num_items]


def logits_of(key_N: torch.Tensor) -> torch.Tensor:
    return 4 * torch.sin(key_N[:, None] * (1 + torch.arange(NUM_CODES)))


def anew(prefix_NL, owner_N, state, parent_N):
    """Compute logits that depend on the owner and on each code, without a state."""
    assert (owner_N[1:] >= owner_N[:-1]).all()
    steps = STEP[: prefix_NL.shape[1]]
    return logits_of(0.71 * (owner_N + 1) + ((prefix_NL + 1) * steps).sum(1)), None


def continued(prefix_NL, owner_N, state, parent_N):
    """Compute the same from the state of the shorter prefixes."""
    length = prefix_NL.shape[1]
    if length:
        key = state[parent_N] + (prefix_NL[:, -1] + 1) * STEP[length - 1]
    else:
        assert state is None and parent_N is None
        key = 0.71 * (owner_N + 1)
    return logits_of(key), key


def written_out(codes: np.ndarray, owner: int) -> list[float]:
    """Add up the log-probability of each item, code by code."""
    rows = [tuple(map(int, row)) for row in codes]
    found = []
    for row in rows:
        total = 0.0
        for length in range(len(row)):
            prefix = torch.tensor([row[:length]], dtype=torch.long)
            logits, _ = anew(prefix, torch.tensor([owner]), None, None)
            valid = sorted({other[length] for other in rows if other[:length] == row[:length]})
            weight = logits[0].double().exp()
            total += float((weight[row[length]] / weight[valid].sum()).log())
        found.append(total)
    return found


@pytest.mark.parametrize("rows", [1, 3, 4096])
def test_exact_scores_are_the_sums_written_out(rows):
    codes = some_codes()
    found = catalogue_scores(PrefixTree.of(codes), anew, NUM_OWNERS, rows=rows)
    expected = [written_out(codes, owner) for owner in range(NUM_OWNERS)]
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)
    np.testing.assert_allclose(found.exp().sum(1).numpy(), np.ones(NUM_OWNERS), atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_state_gives_the_same_as_whole_prefixes(length):
    tree = PrefixTree.of(some_codes(4 if length == 1 else 9, length))
    expected = catalogue_scores(tree, anew, NUM_OWNERS)
    for rows in (1, 2, 100):
        found = catalogue_scores(tree, continued, NUM_OWNERS, rows=rows)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    beams = [beam_search(tree, way, NUM_OWNERS, k=3, width=4) for way in (anew, continued)]
    assert torch.equal(beams[0][0], beams[1][0])
    torch.testing.assert_close(beams[0][1], beams[1][1], atol=1e-4, rtol=0)


def some_masked(seed: int, num_items: int, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw pairs of owners and items, one of them twice."""
    hidden = np.random.default_rng(seed).random((NUM_OWNERS, num_items)) < share
    hidden[1] = True  # nothing is left
    hidden[2] = False
    owner, item = map(torch.from_numpy, hidden.nonzero())
    return torch.cat([owner, owner[:1]]), torch.cat([item, item[:1]])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_beams_as_wide_as_the_catalogue_are_exact(share):
    codes = some_codes()
    tree = PrefixTree.of(codes)
    masked = some_masked(3, len(codes), share)
    exact = catalogue_scores(tree, anew, NUM_OWNERS)
    exact[masked] = -torch.inf
    score, item = exact.sort(descending=True, stable=True)
    item = item.masked_fill(score == -torch.inf, NO_CODES)
    k = len(codes)
    items, scores = beam_search(tree, anew, NUM_OWNERS, k=k, width=k, masked=masked)
    assert torch.equal(items, item)
    torch.testing.assert_close(scores, score, atol=1e-5, rtol=0)


@pytest.mark.parametrize("width", [1, 5, 8])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.98])
def test_narrow_beams_find_k_items_and_none_that_is_masked(width, share):
    codes = some_codes(80)
    tree = PrefixTree.of(codes)
    owner, item = some_masked(4, len(codes), share)
    exact = catalogue_scores(tree, anew, NUM_OWNERS)
    items, scores = beam_search(tree, anew, NUM_OWNERS, k=5, width=width, masked=(owner, item))
    for one in range(NUM_OWNERS):
        hidden = set(item[owner == one].tolist())
        shown = [i for i in items[one].tolist() if i != NO_CODES]
        assert len(set(shown)) == len(shown) == min(5, len(codes) - len(hidden))
        assert not hidden & set(shown)
        # and the scores are those of the items
        torch.testing.assert_close(scores[one, : len(shown)], exact[one, shown], atol=1e-5, rtol=0)
        assert (scores[one, len(shown) :] == -torch.inf).all()


def test_a_narrow_beam_misses_what_its_first_code_hides():
    """The best item lies below the worse first code, so that only two beams find it."""
    tree = PrefixTree.of(np.array([[0, 0], [0, 1], [0, 2], [1, 0]]))

    def logits(prefix_NL, owner_N, state, parent_N):
        first = torch.tensor([[0.6, 0.4, 0.0]]).log()
        return (first if not prefix_NL.shape[1] else torch.zeros(len(owner_N), 3)), None

    narrow, _ = beam_search(tree, logits, 1, k=1, width=1)
    wide, score = beam_search(tree, logits, 1, k=1, width=2)
    assert (narrow.item(), wide.item()) == (0, 3)
    np.testing.assert_allclose(score.exp().item(), 0.4, atol=1e-6)


def test_of_equal_scores_the_lower_item_is_first():
    every = np.indices((5, 5, 3)).reshape(3, -1).T
    tree = PrefixTree.of(every)

    def even(prefix_NL, owner_N, state, parent_N):
        return torch.zeros(len(owner_N), NUM_CODES), None

    masked = (torch.tensor([0, 0, 1]), torch.tensor([0, 2, 1]))
    items, _ = beam_search(tree, even, 2, k=4, width=75, masked=masked)
    assert items.tolist() == [[1, 3, 4, 5], [0, 2, 3, 4]]
    mixed = np.random.default_rng(1).permutation(75)
    tree = PrefixTree.of(every[mixed])
    for width in (4, 75):
        assert beam_search(tree, even, 1, k=1, width=width)[0].item() == 0


def test_the_best_are_sorted_as_numbers():
    owner = torch.tensor([1, 0, 1, 0, 0, 1, 1, 0])
    score = torch.tensor([-3.0, -0.0, -3.0, 0.0, 1e-7, -1e-30, -torch.inf, -2.5])
    item = torch.tensor([5, 4, 3, 2, 7, 1, 6, 0])
    assert _best(owner, score, item, 3).tolist() == [4, 3, 1, 5, 2, 0]
    assert _best(owner, score, item, 9).tolist() == [4, 3, 1, 7, 5, 2, 0, 6]


def test_a_catalogue_of_one_item():
    tree = PrefixTree.of(np.array([[4, 2, 0]]))
    assert catalogue_scores(tree, anew, 2).tolist() == [[0.0], [0.0]]
    items, scores = beam_search(tree, anew, 2, k=2, width=3)
    assert items.tolist() == [[0, NO_CODES]] * 2
    assert scores.tolist() == [[0.0, -float("inf")]] * 2


def test_errors():
    with pytest.raises(ValueError, match="items 0 and 2 have equal codes"):
        PrefixTree.of(np.array([[1, 2], [1, 3], [1, 2]]))
    with pytest.raises(ValueError, match="at least one item"):
        PrefixTree.of(np.empty((0, 3), np.int32))

    def broken(prefix_NL, owner_N, state, parent_N):
        return torch.full((len(owner_N), NUM_CODES), torch.nan), None

    tree = PrefixTree.of(some_codes())
    for search in (
        lambda: catalogue_scores(tree, broken, 1),
        lambda: beam_search(tree, broken, 1, k=1, width=1),
    ):
        with pytest.raises(Diverged, match="lower its learning rate"):
            search()
