"""GAL-Rec in two processes: the numbers of one, and a kill of both."""

from pathlib import Path

import pytest
import torch

from glta.storage.tensors import load_tensors
from tests.methods.gal_rec.made import write_graph
from tests.methods.gal_rec.view_processes import VARIANTS, trained
from tests.tiny import write_encoder
from tests.training.launching import assert_equal_files, finish, kill_when_stopped, launch

MODULE = "tests.methods.gal_rec.view_processes"


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Path:
    """A language model, and node embeddings."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "encoder").mkdir()
    write_encoder(folder / "encoder")
    write_graph(folder / "pretrain-graph")
    return folder


@pytest.fixture(scope="module")
def whole(places, tmp_path_factory) -> Path:
    """All variants, trained by two processes without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    finish(launch(MODULE, folder, str(places)), folder)
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_train_as_one_does(whole, places, name):
    ours, history = trained(name, places)
    theirs, about = load_tensors(whole / f"{name}-0.safetensors")
    for record, other in zip(history, about["history"], strict=True):
        assert other == pytest.approx(record, abs=2e-4, rel=1e-4)
    assert theirs.keys() == ours.keys()
    # attention does not depend on the bias of its keys: their gradients are rounding errors, which
    # AdamW scales to the size of a step
    for part, tensor in ours.items():
        if part.endswith("key.bias"):
            continue
        torch.testing.assert_close(theirs[part], tensor, atol=2e-4, rtol=1e-3)
    assert_equal_files(whole / f"{name}-0.safetensors", whole / f"{name}-1.safetensors")


def test_a_killed_training_resumes_to_the_last_bit(whole, places, tmp_path):
    process = launch(MODULE, tmp_path, str(places), "--stop-in", "averaged")
    kill_when_stopped(process, tmp_path)
    assert not (tmp_path / "averaged-0.safetensors").exists()
    assert load_tensors(tmp_path / "averaged" / "state.safetensors")[1]["meta"]["epoch"] == 0
    finish(launch(MODULE, tmp_path, str(places)), tmp_path)
    assert "goes on from its last checkpoint" in (tmp_path / "output").read_text()
    for name in VARIANTS:
        assert_equal_files(tmp_path / f"{name}-0.safetensors", whole / f"{name}-0.safetensors")
