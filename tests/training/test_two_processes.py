"""Training in two processes: the numbers of one, and a kill of both."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from glta.storage.tensors import load_tensors
from tests.training.launching import assert_equal_files, finish, kill_when_stopped, launch
from tests.training.two_processes import GRAPH, MODELS, PARAMS, trained

MODULE = "tests.training.two_processes"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """All models, trained by two processes without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    finish(launch(MODULE, folder), folder)
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
    assert_equal_files(whole / f"{name}-0.safetensors", whole / f"{name}-1.safetensors")


def test_killed_processes_resume_to_the_last_bit(whole, tmp_path):
    """Some models are finished then, one is in its fourth epoch, some are not begun."""
    process = launch(MODULE, tmp_path, "--stop-in", "hccf-plus")
    kill_when_stopped(process, tmp_path)
    assert not (tmp_path / "hccf-plus-0.safetensors").exists()
    assert load_tensors(tmp_path / "hccf-plus" / "state.safetensors")[1]["meta"]["epoch"] == 2

    shutil.copytree(tmp_path / "hccf-plus", tmp_path / "alone")
    finish(launch(MODULE, tmp_path), tmp_path)
    assert (tmp_path / "output").read_text().count("goes on from its last checkpoint") == 4
    for name in MODELS:
        file = f"{name}-0.safetensors"
        assert_equal_files(tmp_path / file, whole / file)

    alone, _ = trained("hccf-plus", tmp_path / "alone")  # one process goes on for two
    two = load_tensors(whole / "hccf-plus-0.safetensors")[1]["history"]
    assert alone.history[:3] == two[:3]
    for ours, other in zip(alone.history, two, strict=True):
        assert other == pytest.approx(ours, abs=1e-5, rel=0)
