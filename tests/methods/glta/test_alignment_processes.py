"""Both alignments in two processes: the numbers of one, and a kill of both."""

from pathlib import Path

import pytest
import torch

from glta.storage.tensors import load_tensors
from tests.methods.glta.alignment_processes import VARIANTS, aligned
from tests.methods.glta.small import write_pretrained
from tests.tiny import WRITERS
from tests.training.launching import assert_equal_files, finish, kill_when_stopped, launch

MODULE = "tests.methods.glta.alignment_processes"


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
    finish(launch(MODULE, folder, str(models)), folder)
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
    assert_equal_files(whole / f"{name}-0.safetensors", whole / f"{name}-1.safetensors")


@pytest.mark.parametrize("place", ["tied-items", "free-users"])
def test_killed_alignments_resume_to_the_last_bit(whole, models, tmp_path, place):
    process = launch(MODULE, tmp_path, str(models), "--stop-in", place)
    kill_when_stopped(process, tmp_path)
    name, step = place.split("-")
    assert not (tmp_path / f"{name}-0.safetensors").exists()
    assert load_tensors(tmp_path / name / step / "state.safetensors")[1]["meta"]["epoch"] == 0

    finish(launch(MODULE, tmp_path, str(models)), tmp_path)
    assert "goes on from its last checkpoint" in (tmp_path / "output").read_text()
    for name in VARIANTS:
        file = f"{name}-0.safetensors"
        assert_equal_files(tmp_path / file, whole / file)
