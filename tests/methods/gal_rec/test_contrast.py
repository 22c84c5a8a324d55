"""The contrastive loss and its queue, against numbers that were computed by hand."""

import numpy as np
import pytest
import torch

from glta.methods.gal_rec.contrast import nce, weighted_means
from glta.methods.gal_rec.key_queue import EMPTY, KeyQueue

ANCHOR = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
KEY = torch.tensor([[0.6, 0.8], [0.8, 0.6]])
IDS = torch.tensor([5, 7])


def queue_of(keys, ids) -> KeyQueue:
    queue = KeyQueue(len(ids), 2)
    queue.push(torch.tensor(keys), torch.tensor(ids))
    return queue


def by_hand(own: float, negatives: list[float], temperature: float) -> float:
    logits = np.array([own, *negatives]) / temperature
    return float(np.log(np.exp(logits).sum()) - logits[0])


def test_own_key_against_the_queue():
    queue = queue_of([[1.0, 0.0], [0.0, 1.0], [-0.6, 0.8]], [1, 2, 3])
    found = nce(ANCHOR, KEY, IDS, temperature=0.5, queue=queue)
    expected = [by_hand(0.6, [1, 0, -0.6], 0.5), by_hand(0.6, [0, 1, 0.8], 0.5)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_keys_of_the_same_node_and_empty_places_are_no_negatives():
    queue = queue_of([[1.0, 0.0], [0.0, 1.0], [-0.6, 0.8]], [5, EMPTY, 3])
    found = nce(ANCHOR, KEY, IDS, temperature=0.5, queue=queue)
    expected = [by_hand(0.6, [-0.6], 0.5), by_hand(0.6, [0, 0.8], 0.5)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_known_partners_are_no_negatives():
    queue = queue_of([[1.0, 0.0], [0.0, 1.0]], [1, 2])
    others = torch.zeros(2, 8, dtype=torch.bool)
    others[0, 2] = True
    found = nce(ANCHOR, KEY, IDS, temperature=0.5, queue=queue, others_BI=others)
    expected = [by_hand(0.6, [1], 0.5), by_hand(0.6, [0, 1], 0.5)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_empty_place_is_not_taken_for_node_0():
    queue = KeyQueue(2, 2)
    others = torch.ones(2, 8, dtype=torch.bool)
    queue.push(torch.tensor([[0.0, 1.0]]), torch.tensor([3]))
    others[:, 3] = False
    found = nce(ANCHOR, KEY, IDS, temperature=1.0, queue=queue, others_BI=others)
    np.testing.assert_allclose(found, [by_hand(0.6, [0], 1), by_hand(0.6, [1], 1)], rtol=1e-6)


def test_without_a_queue_the_rest_of_the_batch_is_negative():
    found = nce(ANCHOR, KEY, IDS, temperature=0.5, queue=KeyQueue(0, 2))
    expected = [by_hand(0.6, [0.8], 0.5), by_hand(0.6, [0.8], 0.5)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    alone = nce(ANCHOR, KEY, torch.tensor([5, 5]), temperature=0.5, queue=KeyQueue(0, 2))
    np.testing.assert_allclose(alone, [0, 0], atol=1e-7)


def test_an_empty_queue_gives_no_loss():
    found = nce(ANCHOR, KEY, IDS, temperature=0.5, queue=KeyQueue(4, 2))
    np.testing.assert_allclose(found, [0, 0], atol=1e-7)


def test_gradients_reach_anchor_and_own_key_and_no_key_of_the_queue():
    keys = torch.tensor([[1.0, 0.0]], requires_grad=True)
    queue = KeyQueue(2, 2)
    queue.push(keys, torch.tensor([1]))
    anchor, key = ANCHOR.clone().requires_grad_(), KEY.clone().requires_grad_()
    nce(anchor, key, IDS, temperature=0.5, queue=queue).sum().backward()
    assert anchor.grad.norm() > 0.1
    assert key.grad.norm() > 0.1
    assert keys.grad is None


class TestQueue:
    def test_the_oldest_keys_leave_first(self):
        queue = KeyQueue(3, 1)
        for first in range(0, 8, 2):
            ids = torch.tensor([first, first + 1])
            queue.push(ids[:, None].float(), ids)
        assert sorted(queue.ids.tolist()) == [5, 6, 7]
        assert queue.keys[:, 0].tolist() == queue.ids.tolist()

    def test_more_keys_than_places_leave_the_newest(self):
        queue = KeyQueue(3, 1)
        queue.push(torch.arange(5.0)[:, None], torch.arange(5))
        assert sorted(queue.ids.tolist()) == [2, 3, 4]

    def test_a_restored_queue_goes_on_alike(self):
        queue, other = KeyQueue(3, 1), KeyQueue(3, 1)
        queue.push(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 2]))
        other.restore({name: tensor.clone() for name, tensor in queue.state().items()})
        for each in (queue, other):
            each.push(torch.tensor([[3.0], [4.0]]), torch.tensor([3, 4]))
        torch.testing.assert_close(other.state(), queue.state(), rtol=0, atol=0)
        assert queue.ids.tolist() == [4, 2, 3]

    def test_another_size_is_refused(self):
        with pytest.raises(ValueError, match=r"settings\.gal-rec: the checkpoint"):
            KeyQueue(4, 2).restore(KeyQueue(3, 2).state())

    def test_a_queue_of_length_0_takes_nothing(self):
        queue = KeyQueue(0, 2)
        queue.push(KEY, IDS)
        assert queue.ids.numel() == 0


def test_means_are_weighted_and_of_length_1():
    states = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    weight = torch.tensor([0.6, 0.4, 1.0])
    found = weighted_means(states, torch.tensor([0, 0, 2]), weight, 3)
    first = np.array([0.6, 0.4]) / np.hypot(0.6, 0.4)
    np.testing.assert_allclose(found, [first, [0, 0], [0, 1]], rtol=1e-6)
