"""Training in two processes: the numbers of one, and a kill of both."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from glta.storage.tensors import load_tensors
from tests.training.two_processes import GRAPH, MODELS, PARAMS, trained

# `--cpu` would start one process alone; what `--multi_gpu` starts works on CPUs as well
LAUNCH = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
    *("--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "-m", "tests.training.two_processes"),
]


def launch(folder: Path, *more: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    with (folder / "output").open("w") as output:
        return subprocess.Popen(
            [*LAUNCH, str(folder), *more], env=environment, stdout=output, stderr=output
        )


def finish(process: subprocess.Popen, folder: Path) -> None:
    assert process.wait(timeout=200) == 0, (folder / "output").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """All models, trained by two processes without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    finish(launch(folder), folder)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_train_as_one_does(whole, name):
    assert len(GRAPH) % PARAMS.batch_size == 1  # the last batch leaves one process without a triple
    one, weights = trained(name)
    theirs, two = load_tensors(whole / f"{name}-0.safetensors")
    assert len(two["history"]) == len(one.history) == 6
    for ours, other in zip(one.history, two["history"], strict=True):
        assert other == pytest.approx(ours, abs=1e-5, rel=0)
    assert two["best_epoch"] == one.best_epoch
    for part, tensor in weights.items():
        torch.testing.assert_close(theirs[part], tensor, atol=1e-5, rtol=0)
    assert np.ptp([record["loss"] for record in one.history]) > 1e-3  # it learns


@pytest.mark.parametrize("name", MODELS)
def test_both_processes_hold_the_same_weights(whole, name):
    first, second = (load_tensors(whole / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert first[1] == second[1]
    for part, tensor in first[0].items():
        assert torch.equal(second[0][part], tensor)


def test_killed_processes_resume_to_the_last_bit(whole, tmp_path):
    """Some models are finished then, one is in its fourth epoch, some are not begun."""
    process = launch(tmp_path, "--stop-in", "hccf-plus")
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
    assert len(list(tmp_path.glob("pid-*"))) == 2
    assert not (tmp_path / "hccf-plus-0.safetensors").exists()
    assert load_tensors(tmp_path / "hccf-plus" / "state.safetensors")[1]["meta"]["epoch"] == 2

    shutil.copytree(tmp_path / "hccf-plus", tmp_path / "alone")
    finish(launch(tmp_path), tmp_path)
    assert (tmp_path / "output").read_text().count("goes on from its last checkpoint") == 4
    for name in MODELS:
        weights, about = load_tensors(tmp_path / f"{name}-0.safetensors")
        expected, about_expected = load_tensors(whole / f"{name}-0.safetensors")
        assert about == about_expected
        for part, tensor in expected.items():
            assert torch.equal(weights[part], tensor)

    alone, _ = trained("hccf-plus", tmp_path / "alone")  # one process goes on for two
    two = load_tensors(whole / "hccf-plus-0.safetensors")[1]["history"]
    assert alone.history[:3] == two[:3]
    for ours, other in zip(alone.history, two, strict=True):
        assert other == pytest.approx(ours, abs=1e-5, rel=0)
