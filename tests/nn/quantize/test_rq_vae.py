"""RQ-VAE: its gradients by hand, its training, dead codes, and a resume to the last bit."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from glta.nn.quantize.item_codes import make_codes
from glta.nn.quantize.rq_training import RQVAETask
from glta.nn.quantize.rq_vae import RQVAE, nearest_codes, quantized
from glta.nn.quantize.settings import CodeSettings
from glta.nn.quantize.spaces import Centring
from glta.training.devices import Devices
from glta.training.trainer import train
from tests.nn.quantize.made import catalogue, small


def task_of(settings: CodeSettings, num_items: int = 60, seed: int = 0) -> RQVAETask:
    vectors, text = catalogue(num_items)
    vector, words = (torch.from_numpy(Centring.of(x, unit=True).rows(x)) for x in (vectors, text))
    network = RQVAE(vectors.shape[1], text.shape[1], settings, seed)
    return RQVAETask(network, vector, words, seed, section="settings.codes")


def test_the_straight_through_gradient_is_that_worked_out_by_hand():
    rows = torch.tensor([[1.3, 0.2], [-0.8, 0.1]], requires_grad=True)
    books = torch.tensor(
        [[[1.0, 0.0], [-1.0, 0.0]], [[0.0, 0.5], [0.25, 0.25]]], requires_grad=True
    )
    upstream = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    beta = 0.25
    found = quantized(rows, books)
    # row 0: 1.3, .2 -> code 0 leaves .3, .2 -> (.25, .25) leaves .05, -.05
    # row 1: -.8, .1 -> code 1 leaves .2, .1 -> (.25, .25) leaves -.05, -.15
    assert found.codes.tolist() == [[0, 1], [1, 1]]
    torch.testing.assert_close(found.passed, torch.tensor([[1.25, 0.25], [-0.75, 0.25]]))
    rest = torch.tensor([[[0.3, 0.2], [0.2, 0.1]], [[0.05, -0.05], [-0.05, -0.15]]])
    squares = rest.square().sum()
    torch.testing.assert_close(found.books, squares)
    torch.testing.assert_close(found.commitment, squares)
    ((upstream * found.passed).sum() + found.books + beta * found.commitment).backward()
    # the row gets the gradient of what was passed on, and is drawn to its codes on both levels
    torch.testing.assert_close(rows.grad, upstream + 2 * beta * rest.sum(0))
    # a code is drawn to what is left over where it is taken; no gradient of what was passed on
    expected = torch.zeros(2, 2, 2)
    expected[0, 0] = -2 * rest[0, 0]
    expected[0, 1] = -2 * rest[0, 1]
    expected[1, 1] = -2 * (rest[1, 0] + rest[1, 1])
    torch.testing.assert_close(books.grad, expected)


def test_the_losses_are_those_of_the_equations():
    settings = small(text_weight=0.7)
    task = task_of(settings)
    task.start()
    network, vector, text = task.network, task.vector, task.text
    found = network.losses(vector, text)
    row = network.encoder(vector)
    codes = quantized(row, network.books)
    total = sum(network.books[level][codes.codes[:, level]] for level in range(3))
    error = (network.decoder(total) - vector).square().sum(1).mean()
    torch.testing.assert_close(found.error, error)
    known = text.any(1)
    assert known.sum() == 59
    cosine = F.normalize(network.to_text(total)[known]) @ F.normalize(text[known]).T
    contrast = F.cross_entropy(cosine / settings.temperature, torch.arange(59))
    torch.testing.assert_close(found.text, contrast)
    loss = error + 0.7 * contrast + codes.books / 60 + 0.25 * codes.commitment / 60
    torch.testing.assert_close(network.total(found), loss)
    assert task.validate(0) < 0


def test_shares_of_two_processes_add_up():
    whole, part = (task_of(small()) for _ in range(2))
    batch = torch.arange(31)
    for task in (whole, part):
        task.start()
    expected = whole.backward(batch)
    added = dict.fromkeys(expected, 0)
    for rank in range(2):
        part.devices = Devices(torch.device("cpu"), rank, 2)
        added = {name: added[name] + value for name, value in part.backward(batch).items()}
    for name, value in expected.items():
        torch.testing.assert_close(added[name], value)
    for name, parameter in whole.trained().items():
        torch.testing.assert_close(part.trained()[name].grad, parameter.grad)


def test_training_beats_its_start_and_uses_the_text():
    task = task_of(small(steps=300, patience=100))
    found = train(task, epochs=30, patience=100)
    start, best = found.history[0]["valid"], found.history[found.best_epoch + 1]["valid"]
    # over five seeds: -3.9 to -3.3 and -0.67 to -0.60
    assert -4.3 < start < -3 and -0.8 < best < -0.5
    errors = [record["error"] for record in found.history[1:]]
    # at first the vectors' whole variance of 1 is left over
    assert 0.06 < errors[-1] < 0.2 < 0.9 < errors[0] < 1.3
    texts = [record["text"] for record in found.history[1:]]
    assert 1.5 < texts[-1] < 2 < 5 < texts[0] < 9
    assert task.validate(0) == pytest.approx(best)


def test_codes_of_k_means_are_the_start():
    task = task_of(small())
    task.start()
    rows = task.network.encoder(task.vector)
    used = nearest_codes(rows, task.network.books[0]).unique()
    assert len(used) == 8
    centre = rows[nearest_codes(rows, task.network.books[0]) == 3].mean(0)
    torch.testing.assert_close(centre, task.network.books[0, 3].detach(), atol=0.05, rtol=0.1)


def test_dead_codes_are_restarted():
    task = task_of(small())
    with torch.no_grad():
        task.network.books += 100 + torch.arange(8.0)[None, :, None]  # one code is nearest to all
    rows = task.network.encoder(task.vector)
    assert len(nearest_codes(rows, task.network.books[0]).unique()) == 1
    before = task.network.books.detach().clone()
    assert task.restart_dead(np.random.default_rng(0)) >= 7
    book = task.network.books[0].detach()
    kept = (book == before[0]).all(1)
    assert kept.sum() == 1
    # the moved ones lie where items are, so that these items have them
    distance = (book[~kept][:, None] - rows).square().sum(2)
    assert (distance.min(1).values < 1e-10).all()
    assert len(nearest_codes(rows, book).unique()) >= 7


@pytest.mark.parametrize("restart", [True, False])
def test_codes_are_restarted_at_the_beginning_of_later_epochs(monkeypatch, restart):
    task = task_of(small(restart_dead=restart))
    calls = []
    monkeypatch.setattr(task, "restart_dead", calls.append)
    for epoch in range(3):
        list(task.batches(epoch))
    assert len(calls) == (2 if restart else 0)


def test_a_pass_takes_each_item_once():
    task = task_of(small(batch_size=25, evaluate_every=3, restart_dead=False))
    for epoch in range(2):
        items = torch.cat(list(task.batches(epoch)))
        assert items.sort().values.tolist() == list(range(60))
    assert torch.cat(list(task.batches(0))).tolist() != torch.cat(list(task.batches(1))).tolist()


class Stop(Exception):
    pass


def test_an_interrupted_training_resumes_to_the_last_bit(tmp_path):
    vectors, text = catalogue()
    settings = small(kind="rq-vae", codes=32)  # so many codes that some die
    whole = make_codes(vectors, text, settings, 0)

    def stop(record):
        if record["epoch"] == 2:
            raise Stop

    with pytest.raises(Stop):
        make_codes(vectors, text, settings, 0, checkpoint=tmp_path, on_epoch=stop)
    seen = []
    resumed = make_codes(vectors, text, settings, 0, checkpoint=tmp_path, on_epoch=seen.append)
    assert resumed.history == whole.history == seen
    assert [record["epoch"] for record in seen] == [-1, 0, 1, 2, 3, 4, 5]
    assert resumed.digest == whole.digest
    assert resumed.books.levels.tobytes() == whole.books.levels.tobytes()
    other = make_codes(vectors, text, settings, 1)
    assert other.books.levels.tobytes() != whole.books.levels.tobytes()


def test_items_without_any_text():
    vectors, text = catalogue()
    codes = make_codes(vectors, np.zeros_like(text), small(kind="rq-vae", steps=10), 0)
    assert codes.history[-1]["text"] == 0
