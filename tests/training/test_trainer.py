"""The training loop, on a task small enough to see through."""

import gc
import subprocess
import sys
import weakref
from dataclasses import replace
from itertools import chain

import pytest
import torch

from glta.training.devices import Devices, find_devices
from glta.training.seeds import Stream, epoch_generator, epoch_rng, seed_torch
from glta.training.stopping import Diverged
from glta.training.trainer import Task, train


class Regression(Task):
    """Fit a line through noise; a queue of what it has seen moves the gradient.

    values: maps an epoch to the validation value. None: it is not validated.
    """

    section, learning_rate = "settings.line", 0.05

    def __init__(self, values=None, seed=0):
        self.values, self.seed, self.started = values, seed, 0
        self.model = torch.nn.Linear(3, 1)
        self.model.register_buffer("seen", torch.zeros(()))
        self.queue = torch.zeros(4, 3)
        with torch.no_grad():
            self.model.weight.fill_(0.5)
            self.model.bias.zero_()

    def trained(self):
        return dict(self.model.named_parameters())

    def optimizer(self):
        return torch.optim.Adam(self.model.parameters(), lr=self.learning_rate)

    def tensors(self):
        return self.model.state_dict()

    def load(self, tensors):
        self.model.load_state_dict(tensors)

    def state(self):
        return {"queue": self.queue}

    def load_state(self, tensors):
        self.queue.copy_(tensors["queue"])

    def start(self):
        self.started += 1
        with torch.no_grad():
            self.model.bias.fill_(0.25)

    def batches(self, epoch):
        generator = epoch_generator(self.seed, epoch, Stream.DROPOUT)
        return torch.randn(3, 8, 3, generator=generator)

    def backward(self, batch):
        target = batch.sum(1, keepdim=True) + self.queue.mean()
        loss = (self.model(batch) - target).square().mean()
        loss.backward()
        self.queue = torch.cat([self.queue[1:], batch[:1]])
        self.model.seen += len(batch)
        return {"loss": loss, "rows": float(len(batch))}

    def validate(self, epoch):
        return self.values(epoch) if self.values else None


class Stopped(Exception):
    pass


def stop_in(epoch):
    def on_epoch(record):
        if record["epoch"] == epoch:
            raise Stopped

    return on_epoch


def by_weight(task):
    """Validate by what depends on every step, so that a lost state would show."""
    task.values = lambda epoch: task.model.weight.sum().item()
    return task


def test_resumed_run_equals_the_uninterrupted_one(tmp_path):
    whole, resumed = by_weight(Regression()), by_weight(Regression())
    expected = train(whole, epochs=6, patience=3)
    assert [record["epoch"] for record in expected.history] == [-1, 0, 1, 2, 3, 4, 5]
    with pytest.raises(Stopped):
        train(
            by_weight(Regression()), epochs=6, patience=3, checkpoint=tmp_path, on_epoch=stop_in(3)
        )
    seen = []
    assert train(resumed, epochs=6, patience=3, checkpoint=tmp_path, on_epoch=seen.append) == (
        expected
    )
    assert seen == expected.history
    assert (whole.started, resumed.started) == (1, 0)
    for name, tensor in (whole.tensors() | whole.state()).items():
        assert torch.equal((resumed.tensors() | resumed.state())[name], tensor)


@pytest.mark.parametrize("lost", ["queue", "optimizer"])
def test_a_resume_needs_every_part_of_the_state(tmp_path, monkeypatch, lost):
    expected = train(Regression(), epochs=6, patience=3)
    with pytest.raises(Stopped):
        train(Regression(), epochs=6, patience=3, checkpoint=tmp_path, on_epoch=stop_in(3))
    if lost == "queue":
        monkeypatch.setattr(Regression, "load_state", lambda self, tensors: None)
    else:
        monkeypatch.setattr("glta.training.trainer.restore_optimizer", lambda *_: None)
    found = train(Regression(), epochs=6, patience=3, checkpoint=tmp_path)
    assert found.history[:3] == expected.history[:3]
    assert found.history[-1] != expected.history[-1]


def test_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    task = by_weight(Regression())
    expected = train(task, epochs=4, patience=9, checkpoint=tmp_path)
    again = by_weight(Regression())
    monkeypatch.setattr(Regression, "backward", lambda self, batch: pytest.fail("a step"))
    assert train(again, epochs=4, patience=9, checkpoint=tmp_path) == expected
    for name, tensor in task.tensors().items():
        assert torch.equal(again.tensors()[name], tensor)


def test_stops_early_and_leaves_the_best_weights():
    values = {-1: 0.0, 0: 0.1, 1: 0.3, 2: 0.2, 3: 0.3, 4: 0.9}
    task, short = Regression(values.get), Regression()
    found = train(task, epochs=50, patience=2)
    assert [record["valid"] for record in found.history] == [0.0, 0.1, 0.3, 0.2, 0.3]
    assert found.best_epoch == 1
    train(short, epochs=2, patience=1)
    for name, parameter in short.trained().items():
        assert torch.equal(task.trained()[name], parameter)


def test_the_best_weights_outlive_an_interruption(tmp_path):
    values = {1: 0.3}
    whole, resumed = (Regression(lambda epoch: values.get(epoch, 0.1)) for _ in range(2))
    expected = train(whole, epochs=6, patience=9)
    with pytest.raises(Stopped):
        train(
            Regression(whole.values),
            epochs=6,
            patience=9,
            checkpoint=tmp_path,
            on_epoch=stop_in(4),
        )
    assert train(resumed, epochs=6, patience=9, checkpoint=tmp_path) == expected
    assert expected.best_epoch == 1
    assert torch.equal(resumed.model.weight, whole.model.weight)


def test_the_start_may_be_the_best():
    task = Regression(lambda epoch: -float(epoch))
    found = train(task, epochs=50, patience=3)
    assert found.best_epoch == -1
    assert [record["epoch"] for record in found.history] == [-1, 0, 1, 2]
    assert found.history[0] == {"epoch": -1, "valid": 1.0}
    assert task.model.weight.eq(0.5).all() and task.model.bias.eq(0.25).all()


def test_some_epochs_may_go_without_validation():
    found = train(Regression({2: 0.5, 5: 0.4, 8: 0.3}.get), epochs=50, patience=2)
    assert [r["epoch"] for r in found.history if "valid" in r] == [2, 5, 8]
    assert (found.best_epoch, len(found.history)) == (2, 9)


def test_without_validation_the_last_epoch_is_kept(tmp_path):
    task = Regression()
    found = train(task, epochs=5, patience=1, checkpoint=tmp_path)
    assert [set(record) for record in found.history] == [{"epoch", "loss", "rows"}] * 5
    assert found.best_epoch == 4
    assert task.model.seen == 5 * 3 * 8
    again = Regression()
    assert train(again, epochs=5, patience=1, checkpoint=tmp_path) == found
    assert torch.equal(again.model.weight, task.model.weight)


def test_a_record_holds_the_means_over_batches():
    task = Regression()
    task.learning_rate = 0.0
    batches = task.batches(0)
    losses, queue = [], torch.zeros(4, 3)
    for batch in batches:
        output = batch.sum(1) * 0.5 + 0.25
        losses.append((output - batch.sum(1) - queue.mean()).square().mean())
        queue = torch.cat([queue[1:], batch[:1]])
    (record,) = train(task, epochs=1, patience=1).history
    assert record["loss"] == pytest.approx(torch.stack(losses).mean().item())
    assert record["rows"] == 8


class Computed:
    """Stands for what a step computes and its graph holds, such as the embeddings of all nodes."""


class Holding(torch.autograd.Function):
    """Pass a loss on, and hold something with its graph."""

    @staticmethod
    def forward(ctx, loss, held):
        ctx.held = held
        return loss.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def test_a_step_leaves_nothing_of_its_graph_behind():
    seen = []

    class Watched(Regression):
        def backward(self, batch):
            gc.collect()
            assert [each() for each in seen] == [None] * len(seen)
            held = Computed()
            seen.append(weakref.ref(held))
            loss = Holding.apply(self.model(batch).square().mean(), held)
            loss.backward()
            return {"loss": loss}

    train(Watched(), epochs=2, patience=1)
    assert len(seen) == 6


def test_divergence_names_the_parameter_and_is_not_validated():
    task = Regression(lambda epoch: pytest.fail("validated") if epoch >= 0 else 0.0)
    task.queue.fill_(1e30)
    with pytest.raises(Diverged, match=r"epoch 0: lower settings\.line\.learning_rate = 0\.05"):
        train(task, epochs=3, patience=1)


def test_only_the_main_process_writes_and_reports(tmp_path):
    class Second(Devices):
        """Be told that there is a main process elsewhere, and hear nothing from it."""

        is_main = False

    task, seen = Regression(), []
    task.devices = Second(torch.device("cpu"))
    found = train(task, epochs=2, patience=1, checkpoint=tmp_path, on_epoch=seen.append)
    assert len(found.history) == 2
    assert seen == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, 1, 2, 5, 12])
@pytest.mark.parametrize("num_processes", [1, 2, 3, 5])
def test_shares_are_even_and_leave_nothing_out(count, num_processes):
    devices = Devices(torch.device("cpu"), num_processes=num_processes)
    parts = [
        list(range(count))[replace(devices, rank=rank).share(count)]
        for rank in range(num_processes)
    ]
    assert list(chain(*parts)) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_exchanges_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    find_devices.cache_clear()
    devices = find_devices()
    assert (devices.rank, devices.num_processes, devices.is_main) == (0, 1, True)
    rows = torch.arange(6.0).view(3, 2)
    devices.add_up([rows])
    devices.copy_main([rows])
    devices.wait()
    assert devices.gather_rows(rows, 3) is rows
    assert rows.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert devices.agreed(0.1) == 0.1


def test_one_process_does_not_load_accelerate():
    code = (
        "import sys; from glta.training.trainer import find_devices; find_devices(); "
        "sys.exit('accelerate' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_streams_are_told_apart():
    assert len(set(Stream)) == len(Stream.__members__)
    drawn = {int(epoch_rng(3, 5, stream).integers(2**60)) for stream in Stream}
    assert len(drawn) == len(Stream)
    first, second = (
        torch.rand(4, generator=epoch_generator(3, epoch, Stream.DROPOUT)) for epoch in (5, 6)
    )
    assert not torch.equal(first, second)


def test_torchs_own_draws_follow_seed_epoch_and_process():
    def draw(*key):
        seed_torch(*key)
        return torch.rand(1).item()

    keys = [
        (3, 5, Stream.ADAPTER_DROPOUT),
        (4, 5, Stream.ADAPTER_DROPOUT),
        (3, 6, Stream.ADAPTER_DROPOUT),
        (3, 5, Stream.ADAPTERS),
        (3, 5, Stream.ADAPTER_DROPOUT, 1),
    ]
    assert draw(*keys[0]) == draw(*keys[0], 0)
    assert len({draw(*key) for key in keys}) == len(keys)
