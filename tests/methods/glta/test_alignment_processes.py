"""Both alignments in two processes: the numbers of one, and a kill of both."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from glta.storage.tensors import load_tensors
from tests.methods.glta.alignment_processes import VARIANTS, aligned
from tests.methods.glta.small import write_pretrained
from tests.tiny import WRITERS
from tests.training.test_two_processes import LAUNCH, finish


def launch(folder: Path, *more: str) -> subprocess.Popen:
    command = [*LAUNCH[:-1], "tests.methods.glta.alignment_processes", str(folder), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    with (folder / "output").open("w") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A language model of each kind, and node embeddings."""
    folder = tmp_path_factory.mktemp("models")
    for kind, write in WRITERS.items():
        (folder / kind).mkdir()
        write(folder / kind)
    write_pretrained(folder / "pretrain")
    return folder


@pytest.fixture(scope="module")
def whole(models, tmp_path_factory) -> Path:
    """All variants, aligned by two processes without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    finish(launch(folder, str(models)), folder)
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_align_as_one_does(whole, models, name):
    ours, histories = aligned(name, models)
    theirs, found = load_tensors(whole / f"{name}-0.safetensors")
    for step in ("items", "users"):
        assert [record["epoch"] for record in found[step]] == [-1, 0, 1, 2]
        for record, other in zip(histories[step], found[step], strict=True):
            assert other == pytest.approx(record, abs=1e-5, rel=0)
        losses = [record["loss"] for record in found[step][1:]]
        assert max(losses) - min(losses) > 1e-3  # it learns
    assert theirs.keys() == ours.keys()
    for part, tensor in ours.items():
        torch.testing.assert_close(theirs[part], tensor, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_both_processes_hold_the_same_aligner(whole, name):
    first, second = (load_tensors(whole / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert second[1] == first[1]
    for part, tensor in first[0].items():
        assert torch.equal(second[0][part], tensor)


@pytest.mark.parametrize("place", ["tied-items", "free-users"])
def test_killed_alignments_resume_to_the_last_bit(whole, models, tmp_path, place):
    process = launch(tmp_path, str(models), "--stop-in", place)
    try:
        deadline = time.monotonic() + 200
        while not (tmp_path / "stopped").exists():
            assert process.poll() is None, (tmp_path / "output").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        process.kill()
        for path in tmp_path.glob("pid-*"):
            os.kill(int(path.read_text()), signal.SIGKILL)
        process.wait()
    name, step = place.split("-")
    assert not (tmp_path / f"{name}-0.safetensors").exists()
    assert load_tensors(tmp_path / name / step / "state.safetensors")[1]["meta"]["epoch"] == 0

    finish(launch(tmp_path, str(models)), tmp_path)
    assert "goes on from its last checkpoint" in (tmp_path / "output").read_text()
    for name in VARIANTS:
        tensors, histories = load_tensors(tmp_path / f"{name}-0.safetensors")
        expected, histories_expected = load_tensors(whole / f"{name}-0.safetensors")
        assert histories == histories_expected
        for part, tensor in expected.items():
            assert torch.equal(tensors[part], tensor)
