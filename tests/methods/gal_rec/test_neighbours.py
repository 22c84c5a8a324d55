"""Neighbours over one and two hops, and that a target is never among them."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from glta.data.interactions import Interactions
from glta.methods.gal_rec.neighbours import NeighbourSampler
from glta.methods.gal_rec.spec import GALRecSettings
from glta.methods.gal_rec.view_examples import Examples
from glta.testing.blocks import block_prepared

# users 0 and 1 share item 0, users 1 and 2 share item 1; user 3 is alone with item 2; user 4 has
# nothing
PAIRS = Interactions.of([0, 1, 1, 2, 3], [0, 0, 1, 1, 2], 5, 4)


def drawn(sampler: NeighbourSampler, nodes, **more):
    found = [sampler.draw(np.array(nodes), np.random.default_rng(s), **more) for s in range(40)]
    return [
        (
            {int(n) for near in node for n in near.first},
            {int(n) for near in node for n in near.second},
        )
        for node in zip(*found, strict=True)
    ]


def test_users_have_their_items_and_the_users_of_these():
    sampler = NeighbourSampler.of_users(PAIRS, 5, 5)
    found = drawn(sampler, [0, 1, 2, 3, 4])
    assert found == [({0}, {1}), ({0, 1}, {0, 2}), ({1}, {1}), ({2}, set()), (set(), set())]


def test_items_have_their_users_and_the_items_of_these():
    sampler = NeighbourSampler.of_items(PAIRS, 5, 5)
    assert drawn(sampler, [0, 1, 2, 3]) == [
        ({0, 1}, {1}),
        ({1, 2}, {0}),
        ({3}, set()),
        (set(), set()),
    ]


def test_a_partner_is_no_neighbour_and_no_walk_goes_through_it():
    sampler = NeighbourSampler.of_users(PAIRS, 5, 5)
    assert drawn(sampler, [1, 0], partners=np.array([0, 0])) == [({1}, {2}), (set(), set())]


def test_no_more_than_asked_for_and_none_twice():
    rng = np.random.default_rng(0)
    dense = Interactions.of(*np.nonzero(np.ones((9, 9))), 9, 9)
    for near in NeighbourSampler.of_users(dense, 4, 3).draw(np.arange(9), rng):
        assert len(set(near.first.tolist())) == 4
        assert len(set(near.second.tolist())) == len(near.second) <= 3
    (near,) = NeighbourSampler.of_users(dense, 0, 0).draw(np.array([1]), rng)
    assert near.first.size == near.second.size == 0


def test_new_users_are_told_by_their_items():
    sampler = NeighbourSampler.of_users(PAIRS, 5, 5)
    history = csr_array(np.array([[0, 1, 0, 0], [0, 0, 0, 0]], np.float32))
    found = drawn(sampler, [0, 1], histories=history)
    # user 0 of training is somebody else: that a new user has the number 0 too says nothing
    assert found == [({1}, {1, 2}), (set(), set())]
    first = csr_array(np.array([[1, 0, 0, 0]], np.float32))
    assert drawn(sampler, [0], histories=first) == [({0}, {0, 1})]


def test_another_node_can_lend_its_neighbours():
    sampler = NeighbourSampler.of_users(PAIRS, 5, 5)
    assert drawn(sampler, [0], source=np.array([3])) == [({2}, set())]
    # also then a target is never shown
    assert drawn(sampler, [0], source=np.array([3]), partners=np.array([2])) == [(set(), set())]


@pytest.mark.parametrize("shuffled", [False, True])
def test_examples_never_show_their_targets(shuffled):
    prepared = block_prepared()
    examples = Examples(prepared, GALRecSettings(shuffled=shuffled, second_neighbours=20), 0)
    pairs = set()
    for step in range(6):
        for example in examples.at(step):
            assert prepared.target.contains(np.array([example.user]), np.array([example.item]))[0]
            assert example.item not in example.of_user.first
            assert example.user not in example.of_user.second
            assert example.user not in example.of_item.first
            assert example.item not in example.of_item.second
            pairs.add((example.user, example.item))
    assert len(pairs) > 40


def test_steps_go_through_all_users_before_any_comes_again():
    prepared = block_prepared()
    examples = Examples(prepared, GALRecSettings(batch_size=8), 0)
    count = examples.users.size
    shown = [e.user for step in range(2 * count) for e in examples.at(step)]
    rounds = np.array(shown[: 8 * count]).reshape(-1, count)
    assert all(sorted(each) == sorted(examples.users) for each in rounds)
    assert (rounds[0] != rounds[1]).any()
    again = examples.at(3)
    other = Examples(prepared, GALRecSettings(batch_size=8), 0).at(3)
    assert [e.user for e in again] == [e.user for e in other]
    assert [e.of_item.first.tolist() for e in again] == [e.of_item.first.tolist() for e in other]
