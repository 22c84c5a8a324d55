"""SASRec's network and its training: causal, equal to slow forms, exact after a resume."""

from itertools import chain

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from glta.data.sequences import Sequences
from glta.nn.sequence.next_item import (
    NextItemTask,
    draw_negatives,
    encode_users,
    next_item_loss,
    pieces,
)
from glta.nn.sequence.self_attention import SelfAttention, Windows, groups
from glta.nn.sequence.settings import SequenceTraining
from glta.training.devices import Devices
from glta.training.trainer import train

NUM_ITEMS = 11
SMALL = {"embedding_dim": 8, "heads": 2, "max_length": 6, "init_std": 0.3, "batch_size": 4}


def network_of(**settings) -> SelfAttention:
    params = SequenceTraining(**{**SMALL, **settings})
    return SelfAttention(NUM_ITEMS, params, seed=1).eval()


def windows_of(*items: list[int]) -> Windows:
    length = torch.tensor([len(own) for own in items])
    return Windows(torch.tensor([*chain(*items)]), length.cumsum(0) - length, length)


def states_of(network: SelfAttention, *items: list[int]) -> list[torch.Tensor]:
    """Return the states of each window, in the order of its items."""
    windows = windows_of(*items)
    state, place = network(windows)
    ordered = torch.empty_like(state).index_copy(0, place, state)
    return list(ordered.split(windows.length.tolist()))


def padded_on_the_left(network: SelfAttention, items: list[int]) -> torch.Tensor:
    """Compute the states of one window as the paper says, slowly: (L, D)."""
    size, heads = len(network.position), network.blocks[0].heads
    empty = size - len(items)
    ids = torch.tensor([0] * empty + items)
    x = network.item[ids] * network.item.shape[1] ** 0.5 + network.position
    allowed = torch.ones(size, size).tril().bool() & (torch.arange(size) >= empty)
    allowed |= torch.eye(size).bool()
    for block in network.blocks:
        q = block.query_norm(x)
        key, value = block.key_value(x).split(x.shape[1], 1)
        mixed = []
        parts = (t.chunk(heads, 1) for t in (block.query(q), key, value))
        for query_h, key_h, value_h in zip(*parts, strict=True):
            logits = query_h @ key_h.T / query_h.shape[1] ** 0.5
            mixed.append(logits.masked_fill(~allowed, -torch.inf).softmax(1) @ value_h)
        y = block.layer_norm(q + block.output(torch.cat(mixed, 1)))
        x = y + block.second(block.first(y).relu())
    return network.norm(x)[empty:]


def test_windows_of_any_length_are_those_padded_on_the_left():
    network = network_of()
    items = [[3], [1, 2], [4, 5, 6, 7, 8, 9], [10, 0, 1, 2, 3], [2, 1, 0]]
    for own, found in zip(items, states_of(network, *items), strict=True):
        torch.testing.assert_close(found, padded_on_the_left(network, own), atol=1e-5, rtol=1e-5)


def test_a_later_item_changes_no_earlier_state():
    network = network_of()
    first, second = (states_of(network, [1, 2, 3, own, 5])[0] for own in (4, 9))
    torch.testing.assert_close(first[:3], second[:3], rtol=0, atol=0)
    assert (first[3:] - second[3:]).abs().max(1).values.min() > 1e-3
    # an earlier one does
    other = states_of(network, [1, 9, 3, 4, 5])[0]
    assert (first[4] - other[4]).abs().max() > 1e-3


def test_groups_hold_every_window_once():
    length = torch.tensor([1, 4, 5, 8, 9, 50, 3])
    found = list(groups(Windows(torch.arange(80), torch.arange(7), length)))
    assert [size.tolist() for _, size in found] == [[1, 4, 3], [5, 8], [9], [50]]
    assert sorted(torch.cat([begin for begin, _ in found]).tolist()) == list(range(7))


def test_features_are_a_part_of_the_embeddings():
    """The network with features equals one without, whose rows are the sums."""
    params = SequenceTraining(**SMALL)
    features = torch.from_numpy(np.random.default_rng(2).normal(size=(NUM_ITEMS, 5))).float()
    network = SelfAttention(NUM_ITEMS, params, seed=1, features=features).eval()
    plain = network_of()
    assert torch.equal(network.item, plain.item)
    with torch.no_grad():
        plain.item += features @ network.feature_map.weight.T
    assert "features" not in network.state_dict()
    lists = [[3], [1, 2, 5], [*range(6)]]
    for found, expected in zip(states_of(network, *lists), states_of(plain, *lists), strict=True):
        torch.testing.assert_close(found, expected)
    windows = windows_of([1, 2, 3])._replace(length=torch.tensor([2]))
    losses = [next_item_loss(each, windows) for each in (network, plain)]
    torch.testing.assert_close(*losses)
    losses[0].backward()
    assert network.feature_map.weight.grad.abs().sum() > 0


def test_the_loss_is_plain_cross_entropy():
    network = network_of()
    items = [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10], [0, 1]]
    windows = windows_of(*items)
    inputs = windows._replace(length=windows.length - 1)
    loss = next_item_loss(network, inputs)
    loss.backward()
    grads = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    expected = sum(
        F.cross_entropy(
            padded_on_the_left(network, own[:-1]) @ network.item.T,
            torch.tensor(own[1:]),
            reduction="sum",
        )
        for own in items
    )
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(grads[name], parameter.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_binary_loss_as_published():
    network = network_of()
    items = [[1, 2, 3, 4], [4, 5]]
    windows = windows_of(*items)
    negative = torch.tensor([7, 8, 9, 10, 6, 0])
    found = next_item_loss(network, windows._replace(length=windows.length - 1), negative)
    expected = torch.zeros(())
    for own, wrong in zip(items, negative.split([4, 2]), strict=True):
        logits = padded_on_the_left(network, own[:-1]) @ network.item.T
        step = torch.arange(len(own) - 1)
        positive = logits[step, own[1:]]
        expected -= F.logsigmoid(positive).sum() + F.logsigmoid(-logits[step, wrong[:-1]]).sum()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_negatives_are_items_that_the_user_does_not_have():
    histories = Sequences.of_lists([[0, 1, 2], list(range(9)), [5]], 10)
    drawn = draw_negatives(histories, np.random.default_rng(0), np.repeat(histories.user, 50))
    owners = np.repeat(histories.user, 50)
    assert {*drawn[owners == 0]} == {3, 4, 5, 6, 7, 8, 9}
    assert {*drawn[owners == 2]} == {*range(10)} - {5}
    # nine of ten are owned: twenty draws miss the tenth with probability .12
    assert (drawn[owners == 1] == 9).mean() > 0.75


def test_pieces_hold_every_transition_once():
    histories = Sequences.of_lists([[0], [], [1, 2], [*range(8)], [3, 4, 5, 6]], 10)
    begin, length = pieces(histories, 3)
    found = [histories.item[b : b + n + 1].tolist() for b, n in zip(begin, length, strict=True)]
    assert found == [[1, 2], [4, 5, 6, 7], [1, 2, 3, 4], [0, 1], [3, 4, 5, 6]]


def test_users_are_encoded_by_their_newest_items():
    network = network_of()
    lists = [[3], [], [*range(9)], [1, 2]]
    found = encode_users(network, Sequences.of_lists(lists, NUM_ITEMS), block=2)
    for user, own in enumerate(lists):
        if own:
            with torch.no_grad():
                expected = padded_on_the_left(network, own[-6:])[-1]
            np.testing.assert_allclose(found[user], expected, atol=1e-5)
    assert not found[1].any()
    assert encode_users(network, Sequences.of_lists([], NUM_ITEMS)).shape == (0, 8)


def circles(num: int = 12) -> Sequences:
    return Sequences.of_lists(
        [[(user + step) % NUM_ITEMS for step in range(3 + user % 5)] for user in range(num)],
        NUM_ITEMS,
    )


def task_of(**settings) -> NextItemTask:
    params = SequenceTraining(
        **{**SMALL, "steps": 60, "evaluate_every": 10, "learning_rate": 1e-2, **settings}
    )
    network = SelfAttention(NUM_ITEMS, params, seed=1)
    return NextItemTask(network, circles(), params, 3, section="settings.sasrec")


def trained(task: NextItemTask, epochs: int, folder=None) -> list[dict]:
    return train(task, epochs=epochs, patience=99, checkpoint=folder).history


def successor_share(network: SelfAttention) -> float:
    """Return the share of items after which the next in the circle has the highest score."""
    found = encode_users(network, Sequences.of_lists([[i] for i in range(NUM_ITEMS)], NUM_ITEMS))
    best = (found @ network.item.detach().numpy().T).argmax(1)
    return float((best == (np.arange(NUM_ITEMS) + 1) % NUM_ITEMS).mean())


@pytest.mark.parametrize("loss", ["softmax", "bce"])
def test_it_learns_an_order(loss):
    """At first it knows nothing; afterwards it knows most successors, and chance is one of 11."""
    task = task_of(dropout=0.1, loss=loss, init_std=0.1, steps=120)
    assert successor_share(task.network) < 0.4
    history = trained(task, task.params.epochs)
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]
    assert successor_share(task.network) > 0.5


def test_a_resumed_training_is_equal_to_the_last_bit(tmp_path):
    for loss in ("softmax", "bce"):
        whole = task_of(loss=loss, steps=35)
        expected = trained(whole, whole.params.epochs)
        folder = tmp_path / loss
        folder.mkdir()
        trained(task_of(loss=loss, steps=35), 2, folder)
        resumed = task_of(loss=loss, steps=35)
        assert trained(resumed, resumed.params.epochs, folder) == expected
        for name, weight in resumed.tensors().items():
            assert torch.equal(weight, whole.tensors()[name]), name


def test_shares_of_two_processes_add_up():
    whole = task_of(dropout=0)
    batch = next(iter(whole.batches(0)))
    loss = whole.backward(batch)["loss"]
    parts = 0
    task = task_of(dropout=0)
    for rank in range(2):
        task.devices = Devices(torch.device("cpu"), rank, 2)
        parts = parts + task.backward(batch)["loss"]
    torch.testing.assert_close(parts, loss)
    for (name, p), q in zip(
        task.network.named_parameters(), whole.network.parameters(), strict=True
    ):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_nothing_to_learn_is_one_error():
    params = SequenceTraining(**SMALL)
    lists = Sequences.of_lists([[1], []], NUM_ITEMS)
    with pytest.raises(ValueError, match="no user has two training items"):
        NextItemTask(network_of(), lists, params, 0, section="settings.sasrec")
    with pytest.raises(ValueError, match="heads = 3 does not divide embedding_dim = 8"):
        network_of(heads=3)
