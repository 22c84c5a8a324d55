"""Tensors on disk, checkpoints and early stopping."""

import copy
import errno
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save

from glta.storage.tensors import load_tensors, save_tensors
from glta.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from glta.training.devices import keep_freed_memory
from glta.training.seeds import epoch_rng
from glta.training.stopping import EarlyStopping


def test_epochs_draw_apart_and_alike():
    def draw(*key):
        return epoch_rng(*key).integers(2**60)

    assert draw(3, 5, 1) == draw(3, 5, 1)
    assert len({draw(3, 5, 1), draw(4, 5, 1), draw(3, 6, 1), draw(3, 5, 2), draw(5, 3, 1)}) == 5


def test_tensors_come_back_to_the_last_bit(tmp_path):
    tensors = {
        "a": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
        "turned": torch.arange(6.0).view(2, 3).T,
        "trained": torch.nn.Parameter(torch.ones(2)),
        "scalar": torch.tensor(7),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "empty": torch.empty(0, 5),
    }
    meta = {"history": [{"loss": 0.1 + 0.2}], "name": "ü"}
    save_tensors(tmp_path / "deep" / "x.safetensors", tensors, meta)
    found, about = load_tensors(tmp_path / "deep" / "x.safetensors")
    assert about == meta
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.safetensors"]


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc's setting")
def test_freed_memory_is_used_again():
    import resource

    keep_freed_memory()
    faults = []
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)  # 64 MB, 16,384 pages
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults) < 1000


def test_equal_tensors_give_equal_bytes(tmp_path):
    a, b = torch.ones(3), torch.zeros(2)
    save_tensors(tmp_path / "1", {"a": a, "b": b}, {"x": 1, "y": 2})
    save_tensors(tmp_path / "2", {"b": b, "a": a}, {"y": 2, "x": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_full_disk_leaves_the_old_tensors(tmp_path):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.zeros(2)})
    (tmp_path / ".x.safetensors.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as error:
        save_tensors(path, {"a": torch.ones(2)})
    assert error.value.errno == errno.ENOSPC
    assert load_tensors(path)[0]["a"].tolist() == [0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("content", [b"", b"not tensors at all", None])
def test_broken_file_is_named(tmp_path, content):
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.zeros(20)})
    path.write_bytes(path.read_bytes()[:-8] if content is None else content)
    with pytest.raises(
        ValueError, match=r"x\.safetensors: not a readable safetensors file.*delete it"
    ):
        load_tensors(path)


def test_missing_file_is_no_broken_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "absent.safetensors")


def steps(model: torch.nn.Module, optimizer: torch.optim.Optimizer, epochs: range) -> None:
    for epoch in epochs:
        x = torch.from_numpy(epoch_rng(0, epoch).normal(size=(8, 4)).astype(np.float32))
        optimizer.zero_grad()
        (model(x) ** 2).mean().backward()
        optimizer.step()


def test_resumed_training_equals_an_uninterrupted_one(tmp_path):
    torch.manual_seed(0)
    start = torch.nn.Linear(4, 3)

    def pair():
        model = copy.deepcopy(start)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1)

    whole, optimizer = pair()
    steps(whole, optimizer, range(6))
    first, optimizer = pair()
    steps(first, optimizer, range(3))
    Checkpoint(tmp_path).save(first.state_dict() | optimizer_tensors(optimizer), {"epoch": 2})
    second, optimizer = pair()
    tensors, meta = Checkpoint(tmp_path).load()
    second.load_state_dict({name: tensors[name] for name in second.state_dict()})
    restore_optimizer(optimizer, tensors)
    steps(second, optimizer, range(meta["epoch"] + 1, 6))
    forgetful, optimizer = pair()
    forgetful.load_state_dict(first.state_dict())
    steps(forgetful, optimizer, range(3, 6))
    assert torch.equal(second.weight, whole.weight)
    assert torch.equal(second.bias, whole.bias)
    assert not torch.equal(forgetful.weight, whole.weight)  # the optimizer's state matters


def test_restored_optimizer_keeps_its_own_learning_rate():
    model = torch.nn.Linear(2, 2)
    old = torch.optim.AdamW(model.parameters(), lr=0.1)
    steps(torch.nn.Sequential(torch.nn.Linear(4, 2), model), old, range(1))
    new = torch.optim.AdamW(model.parameters(), lr=0.02)
    restore_optimizer(new, optimizer_tensors(old))
    assert new.param_groups[0]["lr"] == 0.02
    assert torch.equal(new.state[model.weight]["exp_avg"], old.state[model.weight]["exp_avg"])


def test_checkpoint_without_a_folder_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Checkpoint(None).save({"a": torch.zeros(1)}, {})
    assert Checkpoint(None).load() is None
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_keeps_the_last_save(tmp_path):
    saved = Checkpoint(tmp_path / "state")
    assert saved.load() is None
    for value in (1, 2):
        saved.save({"a": torch.tensor([value])}, {"epoch": value})
    tensors, meta = saved.load()
    assert (tensors["a"].tolist(), meta) == ([2], {"epoch": 2})


DAMAGES = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "no tensors at all": lambda data: b"not tensors at all",
    "one number changed": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "one loss changed": lambda data: data.replace(b"0.25", b"0.26"),
    "an older format": lambda data: save({"a": torch.zeros(2)}, {"meta": "{}"}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_given_up(tmp_path, capsys, damage):
    saved = Checkpoint(tmp_path)
    state = {
        "a": torch.ones(50),
        "scalar": torch.tensor(3.0),
        "none": torch.empty(0, 2),
        "half": torch.ones(2, 2).bfloat16(),
    }
    saved.save(state, {"history": [{"loss": 0.25}], "best": -np.inf})
    assert saved.load()[1] == {"history": [{"loss": 0.25}], "best": -np.inf}
    data = saved.path.read_bytes()
    assert DAMAGES[damage](data) != data
    saved.path.write_bytes(DAMAGES[damage](data))
    assert saved.load() is None
    assert "state.safetensors: is damaged and was deleted" in capsys.readouterr().err
    assert saved.load() is None and capsys.readouterr().err == ""


def test_stops_when_patience_is_used_up():
    stopping = EarlyStopping(2)
    values = [0.1, 0.3, 0.3, 0.2, 0.9]
    seen = []
    for epoch, value in enumerate(values):
        seen.append((stopping.update(value, epoch), stopping.stop))
        if stopping.stop:
            break
    assert seen == [
        (True, False),
        (True, False),
        (False, False),
        (False, True),
    ]  # an equal value is no better one
    assert (stopping.best, stopping.best_epoch) == (0.3, 1)


def test_a_better_value_renews_the_patience():
    stopping = EarlyStopping(2)
    for epoch, value in enumerate([0.1, 0.0, 0.2, 0.1]):
        stopping.update(value, epoch)
    assert not stopping.stop


def test_not_a_number_is_never_the_best():
    stopping = EarlyStopping(1)
    stopping.update(0.1, 0)
    assert not stopping.update(float("nan"), 1)
    assert stopping.stop


def test_stopping_goes_on_where_it_was():
    first, second = EarlyStopping(2), EarlyStopping(2)
    for epoch, value in enumerate([0.1, 0.5, 0.2]):
        first.update(value, epoch)
    second.restore(first.state())
    assert not second.update(0.4, 3)
    assert second.stop
    assert second.best_epoch == 1
