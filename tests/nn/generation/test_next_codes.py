"""The encoder-decoder: what it reads, that it learns an order, and that a training resumes."""

import numpy as np
import pytest
import torch

from glta.data.sequences import Sequences
from glta.nn.generation.encoder_decoder import CodeTransformer
from glta.nn.generation.next_codes import NextCodesTask, by_length, generator_of
from glta.nn.generation.settings import NextCodesSettings
from glta.training.devices import Devices
from glta.training.trainer import train

NUM_ITEMS = 11
CODES = np.array([[i // 4, (3 * i) % 5] for i in range(NUM_ITEMS)], np.int32)
SIZES = (3, 5)
SMALL = {
    "width": 16,
    "layers": 2,
    "heads": 2,
    "head_width": 4,
    "hidden_dim": 24,
    "max_items": 6,
    "batch_size": 16,
    "learning_rate": 1e-2,
    "evaluate_every": 10,
}


def params_of(**settings) -> NextCodesSettings:
    return NextCodesSettings(**(SMALL | settings))


def network_of(**settings) -> CodeTransformer:
    return CodeTransformer(CODES, SIZES, params_of(**settings), seed=1)


def windows(lists: list[list[int]], size: int = 6) -> np.ndarray:
    return Sequences.of_lists(lists, NUM_ITEMS).last(size).item


def test_probabilities_are_those_of_the_training_loss():
    """With every sequence of codes in the catalogue, the tree leaves the softmax as it is."""
    codes = np.indices((2, 3)).reshape(2, -1).T
    params = params_of(dropout=0.0, block_users=2)
    network = CodeTransformer(codes, (2, 3), params, seed=2)
    window = np.array([[-1, -1, 3, 1], [0, 5, 2, 2], [-1, -1, -1, -1]])
    found = generator_of(network, params).scores(window)
    np.testing.assert_allclose(np.exp(found).sum(1), 1, atol=1e-5)
    for row, item in [(0, 0), (1, 4), (2, 5)]:
        with torch.no_grad():
            loss = network.loss(torch.from_numpy(window[[row]]), torch.tensor([item]))
        np.testing.assert_allclose(-loss.item(), found[row, item], atol=1e-5)


def test_a_history_is_read_alike_beside_longer_ones_and_in_its_order():
    generator = generator_of(network_of(), params_of())
    lists = [[3, 1], [2, 5, 4, 7, 8, 1], [], [1, 3]]
    together = generator.scores(windows(lists))
    for own, expected in zip(lists, together, strict=True):
        np.testing.assert_allclose(generator.scores(windows([own]))[0], expected, atol=1e-5)
    assert np.abs(together[0] - together[3]).max() > 1e-3
    older = generator.scores(windows([[9, 2, 5, 4, 7, 8, 1]]))
    np.testing.assert_allclose(older[0], together[1], atol=1e-5)


@pytest.mark.parametrize("exact_items", [0, NUM_ITEMS])
def test_a_network_that_serves_never_leaves_evaluation_mode(exact_items, monkeypatch):
    """Threads share it: a call that switches the mode lets another one read with dropout."""
    network = network_of(dropout=0.5)
    generator = generator_of(network, params_of(exact_items=exact_items))
    assert not network.training
    monkeypatch.setattr(network, "train", lambda mode=True: pytest.fail(f"train({mode})"))
    nobody = np.empty(0, np.int64)
    window = windows([[3, 1], [2, 5, 4]])
    first, again = (generator.lists(window, 4, nobody, nobody) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(generator.scores(window), generator.scores(window))


def test_a_validation_is_without_dropout_and_the_training_goes_on_with_it():
    modes = []
    task = task_of(steps=20, dropout=0.5)
    task.evaluate = lambda: float(modes.append(task.network.training) is None)
    backward = task.backward
    task.backward = lambda batch: modes.append(task.network.training) or backward(batch)
    generator_of(task.network, task.params)
    trained(task, task.params.epochs)
    assert modes == [*10 * [True], False, *10 * [True], False]


def test_a_code_sees_no_later_code():
    network = network_of().eval()
    with torch.no_grad():
        memory = network.encode(torch.from_numpy(windows([[3, 1], [4]])))
        first = network.decode(memory, torch.tensor([[[0], [2]], [[1], [1]]]))
        second = network.decode(memory, torch.tensor([[[1], [2]], [[1], [0]]]))
    same = torch.isclose(first, second, atol=1e-6).all(-1)
    assert same.tolist() == [[[True, False], [True, True]], [[True, True], [True, False]]]


@pytest.mark.parametrize("block_users", [1, 3, 100])
def test_beams_over_the_catalogue_are_the_exact_lists(block_users):
    params = params_of(beams=NUM_ITEMS, block_users=block_users)
    generator = generator_of(network_of(), params)
    window = windows([[3, 1], [2, 5, 4, 7], [], [1, 3], [10]])
    row, item = np.array([0, 0, 2, 4]), np.array([3, 1, 0, 10])
    exact = generator.scores(window)
    exact[row, item] = -np.inf
    items, scores = generator.lists(window, 4, row, item)
    np.testing.assert_array_equal(items, np.argsort(-exact, 1, kind="stable")[:, :4])
    np.testing.assert_allclose(scores, np.take_along_axis(exact, items, 1), atol=1e-5)


def circles(num: int = 12) -> Sequences:
    return Sequences.of_lists(
        [[(user + step) % NUM_ITEMS for step in range(3 + user % 5)] for user in range(num)],
        NUM_ITEMS,
    )


def task_of(**settings) -> NextCodesTask:
    params = params_of(**settings)
    network = CodeTransformer(CODES, SIZES, params, seed=1)
    return NextCodesTask(network, circles(), params, 3, section="settings.tiger.train")


def trained(task: NextCodesTask, epochs: int, folder=None) -> list[dict]:
    return train(task, epochs=epochs, patience=99, checkpoint=folder).history


def test_it_learns_an_order():
    """Each item has one successor: chance is one of 11, and the loss can fall to nearly 0."""
    task = task_of(steps=120, dropout=0.0)
    generator = generator_of(task.network, task.params)
    window = windows([[(i - 1) % NUM_ITEMS, i] for i in range(NUM_ITEMS)])

    def right() -> float:
        best = generator.scores(window).argmax(1)
        return float((best == (np.arange(NUM_ITEMS) + 1) % NUM_ITEMS).mean())

    assert right() < 0.5
    history = trained(task, task.params.epochs)
    assert history[0]["loss"] > 1.0
    assert 0 < history[-1]["loss"] < 0.2
    assert right() > 0.9
    # and what it learned is probable, not only first
    scores = generator.scores(window)
    assert np.exp(scores.max(1)).mean() > 0.8
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, atol=1e-5)


def test_a_pass_has_every_item_but_the_first_of_each_user_once():
    task = task_of(steps=40, batch_size=7)
    in_a_pass = -(-len(task.target) // 7)
    batches = [b for epoch in range(task.params.epochs) for _, b in task.batches(epoch)]
    one = np.concatenate(batches[:in_a_pass])
    two = np.concatenate(batches[in_a_pass : 2 * in_a_pass])
    expected = np.flatnonzero(circles().position > 0)
    np.testing.assert_array_equal(np.sort(one), expected)
    np.testing.assert_array_equal(np.sort(two), expected)
    assert (one != two).any()


def test_histories_of_like_lengths_are_read_together_with_the_same_loss(monkeypatch):
    length = np.array([9, 1, 4, 2, 0, 3, 6, 5, 30])
    parts = [part.tolist() for part in by_length(length)]
    assert parts == [[1, 3, 4], [2, 5], [6, 7], [0], [8]]
    task = task_of(dropout=0.0)
    step, chosen = next(iter(task.batches(0)))
    found = task.histories
    window = found.window(found.user[chosen], found.position[chosen], 6)
    whole = task.network.loss(torch.from_numpy(window.item), torch.from_numpy(found.item[chosen]))
    # a step takes as long on many interactions as on few
    monkeypatch.delattr(Sequences, "_ends")
    torch.testing.assert_close(task.backward((step, chosen))["loss"], whole / len(chosen))


def test_a_resumed_training_is_equal_to_the_last_bit(tmp_path):
    whole = task_of(steps=35)
    expected = trained(whole, whole.params.epochs)
    trained(task_of(steps=35), 2, tmp_path)
    resumed = task_of(steps=35)
    assert trained(resumed, resumed.params.epochs, tmp_path) == expected
    for name, weight in resumed.tensors().items():
        assert torch.equal(weight, whole.tensors()[name]), name


def test_shares_of_two_processes_add_up():
    whole = task_of(dropout=0.0)
    batch = next(iter(whole.batches(0)))
    loss = whole.backward(batch)["loss"]
    parts = 0
    task = task_of(dropout=0.0)
    for rank in range(2):
        task.devices = Devices(torch.device("cpu"), rank, 2)
        parts = parts + task.backward(batch)["loss"]
    torch.testing.assert_close(parts, loss)
    for (name, p), q in zip(
        task.network.named_parameters(), whole.network.parameters(), strict=True
    ):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_nothing_to_learn_is_one_error():
    lists = Sequences.of_lists([[1], []], NUM_ITEMS)
    with pytest.raises(ValueError, match=r"settings.tiger.train: no user has two training items"):
        NextCodesTask(network_of(), lists, params_of(), 0, section="settings.tiger.train")
