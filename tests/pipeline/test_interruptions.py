"""Test signals to an engine and to each process below it.

No process goes on writing, no partial result counts, and the next run continues.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipeline.repository import DOWNSTREAM, Toy

pytestmark = [pytest.mark.engines, pytest.mark.slow]

SNAKEMAKE, DVC = ("snakemake", "--cores", "2"), ("dvc", "repro")


def train(toy: Toy, engine: tuple[str, ...], steps: int) -> tuple[subprocess.Popen, list[int]]:
    """Start an engine, and wait until its scripts train and their runs are open.

    Returns its process and the scripts.
    """
    toy.set_steps(steps)
    toy.hold()
    known = len(toy.runs())
    started = toy.start(*engine)
    scripts = toy.wait_for_training(2 if engine == SNAKEMAKE else 1)
    # a run opens while its script works
    while len(toy.runs()) < known + len(scripts):
        assert started.poll() is None, toy.output()
        time.sleep(0.3)
    return started, scripts


def await_end(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while alive := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def last_training(toy: Toy) -> str:
    return next(
        run.info.status for run in toy.runs() if run.data.tags["stage"].startswith("train@")
    )


def assert_recovers(toy: Toy) -> None:
    """Check that one more run finishes the interrupted work from its checkpoint."""
    assert "train@popularity" in toy.stale() & toy.planned()
    toy.executed()
    toy.release()
    toy.snakemake()
    assert {"resumed@popularity", *DOWNSTREAM} <= set(toy.executed())
    toy.assert_clean()
    assert not list(toy.folder.glob("data/models/*/half"))
    assert "RUNNING" not in {run.info.status for run in toy.all_runs()}


@pytest.mark.parametrize("engine", [SNAKEMAKE, DVC], ids=["snakemake", "dvc"])
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGKILL])  # SIGTERM: test_kill.py
def test_the_whole_group(toy, engine, sig):
    started, _ = train(toy, engine, 31)
    os.killpg(started.pid, sig)
    status = started.wait(60)
    toy.await_end(started.pid)
    if sig == signal.SIGINT:
        assert "interrupted" in toy.output() and "run the same command again" in toy.output()
        assert "Traceback" not in toy.output()
    assert status == 130 if (engine, sig) == (SNAKEMAKE, signal.SIGINT) else status != 0
    assert_recovers(toy)
    # a run that is interrupted while it opens stays open, and is closed as KILLED later
    ends = {"KILLED"} if sig == signal.SIGKILL else {"FAILED", "KILLED"}
    assert ends & {run.info.status for run in toy.runs()}


@pytest.mark.parametrize(
    ("victim", "sig", "status"),
    [
        ("dvc", signal.SIGTERM, "FAILED"),
        ("dvc", signal.SIGKILL, "FAILED"),
        ("runner", signal.SIGTERM, "FAILED"),
        ("runner", signal.SIGKILL, "KILLED"),
        ("script", signal.SIGKILL, "FAILED"),
    ],
)
def test_one_process_alone(toy, victim, sig, status):
    """The script dies with its runner, and the runner dies with dvc."""
    started, (script,) = train(toy, DVC, 31)
    runner = parent(script)
    os.kill({"dvc": started.pid, "runner": runner, "script": script}[victim], sig)
    assert started.wait(60) != 0
    await_end([script, runner])
    assert_recovers(toy)
    assert status in {run.info.status for run in toy.runs()}


def test_the_cost_of_a_resumed_training_has_the_earlier_attempts(toy):
    """Up to their last checkpoints. A training that starts afresh counts alone."""
    for steps, resumes in ((31, True), (41, False)):
        started, (script,) = train(toy, DVC, steps)
        (state,) = toy.folder.glob(".pipe/checkpoints/train@popularity/*/state")
        then = time.time() + 100
        os.utime(state, (then, then))
        os.killpg(started.pid, signal.SIGKILL)
        started.wait(60)
        await_end([script])
        if not resumes:
            state.unlink()
        toy.release()
        toy.repro()
        run = next(r for r in toy.runs() if r.data.tags["stage"] == "train@popularity")
        assert run.info.status == "FINISHED"
        assert (100 < run.data.metrics["seconds"] < 160) == resumes


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_snakemake_alone(toy, sig):
    """Running stages finish and count; the next run starts nothing twice."""
    started, scripts = train(toy, SNAKEMAKE, 31)
    engines = [parent(parent(pid)) for pid in scripts]
    os.kill(started.pid, sig)
    time.sleep(1)
    toy.release()
    started.wait(60)
    await_end(engines)
    done = set(toy.executed())
    assert done and last_training(toy) == "FINISHED"
    toy.snakemake()
    assert not done & set(toy.executed())
    toy.assert_clean()
