"""A training stage that starts its own processes: results, kills of one process, and refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from glta.params.check import check_params, whole_overrides
from glta.params.file import render_params
from glta.params.model import Params
from glta.storage.arrays import load_arrays
from glta.storage.files import read_json
from glta.testing.blocks import World

ROOT = Path(__file__).parents[2]
STEP = ("pipeline.stages.train", "--dataset", "blocks", "--seed", "0", "--step")
LIGHTGCN = {"embedding_dim": 8, "steps": 400, "evaluate_every": 5, "patience": 500}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with the prepared data of the blocks, whose trainings have two processes."""
    folder = tmp_path_factory.mktemp("project")
    World.write(folder)
    (folder / ".dvc").mkdir()
    (folder / "Snakefile").touch()
    for name in ("glta", "pipeline"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("a.csv", "b.csv"):
        (folder / name).touch()
    write_params(folder, 2)
    return folder


def write_params(folder: Path, processes: int) -> None:
    values = {
        "datasets": ["blocks"],
        "tables": {"blocks": {"interactions": "a.csv", "items": "b.csv"}},
        "methods": ["ials", "lightgcn"],
        "settings": {"lightgcn": LIGHTGCN},
        "training": {"processes": processes},
        "recommend": {"refit": False},
        "overrides": {"blocks": whole_overrides({})},
    }
    (folder / "params.yaml").write_text(render_params(check_params(values)))


def start(folder: Path, step: str, out: Path, *module: str, **more: str) -> subprocess.Popen:
    """Start a step. Its checkpoints, records and messages are in `out`."""
    out.mkdir(exist_ok=True)
    (out / "records").unlink(missing_ok=True)
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "GLTA_CHECKPOINT": str(out / "checkpoint"),
        "GLTA_RECORDS": str(out / "records"),
        "GLTA_READS": str(out / "reads"),
        "GLTA_PLAIN": "1",
    }
    command = [sys.executable, "-m", *(module or (*STEP, step))]
    with (out / "messages").open("w") as messages:
        return subprocess.Popen(
            command, cwd=folder, env=environment | more, stdout=messages, stderr=messages
        )


def messages(out: Path) -> list[str]:
    """The lines that a step has written, without those of its progress."""
    lines = (out / "messages").read_text().splitlines()
    return [line for line in lines if not line.startswith("settings.lightgcn")]


def embeddings(folder: Path) -> tuple[dict[str, np.ndarray], list[dict]]:
    place = folder / "data/blocks/0/pretrain-all"
    return load_arrays(place / "model.safetensors")[0], read_json(place / "history.json")


def ranks_of(process: subprocess.Popen) -> list[int]:
    """The processes that a stage has started, by their rank."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = {}
    for pid in children:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        found |= {int(v[5:]): int(pid) for v in environment if v.startswith(b"RANK=")}
    return [found[rank] for rank in sorted(found)]


def wait_for_epoch(out: Path, process: subprocess.Popen, epoch: int) -> None:
    deadline = time.monotonic() + 120
    records = out / "records"
    while not records.exists() or f'"step": {epoch},' not in records.read_text():
        assert process.poll() is None, (out / "messages").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Tell whether a process has ended. A zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_two_processes_of_a_stage(project, tmp_path):
    """Whole; and with one of them killed, then resumed: to the last bit as undisturbed."""
    out = tmp_path / "whole"
    process = start(project, "pretrain-all", out)
    assert process.wait(200) == 0, messages(out)
    assert messages(out) == []
    whole, history = embeddings(project)
    assert len(history) == 80
    # only the processes that train load it
    assert "glta/nn/graph/node_embeddings.py" in json.loads((out / "reads").read_text())
    records = [json.loads(line) for line in (out / "records").read_text().splitlines()]
    assert [record["step"] for record in records] == [*range(80)]

    cut = tmp_path / "cut"
    process = start(project, "pretrain-all", cut)
    wait_for_epoch(cut, process, 3)
    ranks = ranks_of(process)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    assert process.wait(60) == 1
    (line,) = messages(cut)
    assert line.startswith("error: process 2 of 2 was killed (SIGKILL), and the others were ended")
    assert all(map(gone, ranks))

    process = start(project, "pretrain-all", cut)
    assert process.wait(200) == 0, messages(cut)
    assert messages(cut) == ["training goes on from its last checkpoint"]
    resumed, again = embeddings(project)
    assert again == history
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array)


@pytest.mark.slow
def test_a_kill_of_the_stage_leaves_no_process(project, tmp_path):
    process = start(project, "pretrain-all", tmp_path)
    wait_for_epoch(tmp_path, process, 3)
    ranks = ranks_of(process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while not all(map(gone, ranks)):
        assert time.monotonic() < deadline, "a process outlives the stage that started it"
        time.sleep(0.05)


def test_a_mistake_is_said_once_and_ends_all(project, tmp_path):
    process = start(project, "pretrain-graph", tmp_path, *STEP[:3], "--seed", "7", "--step", "hccf")
    assert process.wait(100) == 1
    (line,) = messages(tmp_path)
    assert "no such file; run the stage" in line


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ((*STEP, "ials"), "--step ials: cannot be shared by processes"),
        (("pipeline.stages.report",), "this stage runs in one process"),
    ],
)
def test_what_cannot_be_shared_is_refused(project, tmp_path, module, said):
    process = start(project, "", tmp_path, *module, WORLD_SIZE="2", RANK="0")
    assert process.wait(60) == 1
    (line,) = messages(tmp_path)
    assert line.startswith(f"error: {said}") and "without accelerate launch" in line


def test_one_process_is_enough_for_steps_that_do_not_train():
    params = Params().with_values({"training.processes": 3})
    assert params.processes_of("pretrain-all@sample-0") == 3
    assert params.processes_of("glta-without-profile") == 3
    for stage in ("ease@sample-0", "ials", "lightgcn", "profile@sample-0", "report"):
        assert params.processes_of(stage) == 1
