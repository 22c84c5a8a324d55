"""Each trainer in three processes: the losses and weights of one process.

tests/training/test_two_processes.py, and those of GLTA and GAL-Rec, have the other trainers, in two
processes, with kills.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from glta.storage.tensors import load_tensors
from tests.training.launching import assert_equal_files, finish, launch
from tests.training.trainer_processes import EPOCHS, TASKS, trained


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """All examples, trained by three processes."""
    folder = tmp_path_factory.mktemp("three")
    finish(launch("tests.training.trainer_processes", folder, count=3), folder)
    return folder


@pytest.mark.parametrize("name", TASKS)
def test_three_processes_train_as_one_does(whole, name):
    one, weights = trained(name)
    theirs, three = load_tensors(whole / f"{name}-0.safetensors")
    records = [record for record in one.history if record["epoch"] >= 0]
    assert len(records) == EPOCHS
    for ours, other in zip(one.history, three["history"], strict=True):
        assert other == pytest.approx(ours, abs=1e-5, rel=1e-4)
    assert np.ptp([record["loss"] for record in records]) > 1e-3  # it learns
    # attention does not depend on the bias of its keys: their gradients are rounding errors, which
    # Adam scales to the size of a step
    for part, tensor in weights.items():
        if part.endswith("key_value.bias"):
            continue
        torch.testing.assert_close(theirs[part], tensor, atol=1e-4, rtol=1e-3)
    for rank in (1, 2):
        assert_equal_files(whole / f"{name}-0.safetensors", whole / f"{name}-{rank}.safetensors")
