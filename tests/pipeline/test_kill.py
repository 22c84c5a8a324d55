"""Test that a kill at any moment loses no result and leaves no partial one.

The real stages run under both engines, with SIGTERM and SIGKILL. GLTA_KILL_TURNS=4 tries each
moment with the other engine and signal too. GLTA_KILL_SEED=N also kills at random moments.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import time

import pytest
from ruamel.yaml import YAML

from tests.pipeline.real import ABLATION, ENGINES, TRAINED, Moment, Real
from tests.pipeline.repository import LOCAL

pytestmark = [
    pytest.mark.engines,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("kill"),
]

TURNS = [(engine, sig) for sig in (signal.SIGKILL, signal.SIGTERM) for engine in ENGINES]


def script(stage: str, name: str, path: str, count: int = 1) -> Moment:
    """Stop in a stage's own process, before a file or folder is moved to its place."""
    return Moment(stage, rf"^\S+ -m pipeline\.stages\.{name}( |$)", "os.rename", path, count)


def step(name: str, path: str, count: int = 1) -> Moment:
    """Stop in the process that trains a step."""
    return script(f"{name}@books-0", f"train .*--step {name}", path, count)


def engine(stage: str, event: str, path: str, count: int = 1) -> Moment:
    """Stop in the DVC process that runs a stage."""
    return Moment(stage, r"/dvc .*repro", event, path, count)


CHECKPOINT = r"\.state\.safetensors\.partial$"
MOMENTS = [
    script("code", "code", r"/\.code\.partial$"),
    script("download@books", "download", r"/\.download\.partial$"),
    script("prepare@books-0", "prepare", r"/\.prepare\.partial$"),
    script("profile@books-0", "profile", r"/\.states\.safetensors\.partial$"),
    step("pretrain-all", CHECKPOINT, 3),
    engine("pretrain-graph@books-0", "os.rename", r"\.dvc/cache/runs"),
    step("align_items", CHECKPOINT, 2),
    step("align_users", CHECKPOINT, 3),
    step(ABLATION, CHECKPOINT, 2),
    step("lightgcn", r"/\.lightgcn\.partial$"),
    script("recommend@books-0-glta", "recommend .*--method glta", r"/\.glta\.partial$"),
    script("evaluate@books-0-glta", "evaluate .*--method glta", r"/\.summary\.json\.partial$"),
    engine("evaluate@books-0-lightgcn", "os.rename", r"/data/evaluate/.*\.tmp$"),
    script("report", "report", r"/\.metrics\.json\.partial$"),
]


@pytest.fixture(scope="session")
def whole(tmp_path_factory, commands) -> Real:
    """Run everything once without interruption."""
    real = Real.create(tmp_path_factory.mktemp("kill") / "whole")
    shutil.copytree(real.folder, real.folder.with_name("fresh"), symlinks=True, ignore=LOCAL)
    real.env["PATH"] = f"{commands}{os.pathsep}{real.path}"
    real.snakemake()
    return real


@pytest.fixture
def fresh(whole, tmp_path) -> Real:
    """Copy the same repository as it was before the first run."""
    folder = tmp_path / "real"
    shutil.copytree(whole.folder.with_name("fresh"), folder, symlinks=True, ignore=LOCAL)
    return Real(folder)


def lock(real: Real) -> dict:
    """Read the entries of dvc.lock for every stage, in any order."""
    stages = YAML(typ="safe").load((real.folder / "dvc.lock").read_text())["stages"]
    page = "data/report/index.html"  # shows durations
    for stage in stages.values():
        stage["outs"] = [out for out in stage["outs"] if out["path"] != page]
    return stages


def assert_nothing_lost(real: Real, whole: Real) -> None:
    """Check that the results are those of the uninterrupted run.

    Nothing else may be left in the workspace, the cache or MLflow.
    """
    real.assert_clean()
    assert real.results() == whole.results()
    assert lock(real) == lock(whole)
    for path in real.folder.glob(".dvc/cache/files/md5/*/*"):
        found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        assert f"{path.parent.name}{path.stem}" == found, path
    assert not list((real.folder / ".pipe/checkpoints").glob("*/*"))
    runs, curves = real.runs(), real.curves()
    assert not [run for run in real.all_runs() if run.info.status == "RUNNING"]
    for stage, epochs in curves.items():
        # the newest one
        run = next(
            run for run in runs if run.data.tags["stage"] == stage and run.info.status == "FINISHED"
        )
        for name in ("loss", "valid"):
            logged = [
                (m.step, m.value) for m in real.mlflow().get_metric_history(run.info.run_id, name)
            ]
            assert logged == [(e["epoch"], e[name]) for e in epochs if name in e], (stage, name)


def logged(real: Real) -> str:
    """Return what stages have printed under Snakemake since the last call."""
    text = ""
    for log in (real.folder / ".pipe/logs").glob("*.log"):
        text += log.read_text()
        log.unlink()
    return text


@pytest.mark.parametrize("turn", range(int(os.environ.get("GLTA_KILL_TURNS", "1"))))
def test_killed_in_every_stage(whole, fresh, turn):
    """Each kill leaves all earlier results; the other engine continues from there."""
    output = ""
    for n, moment in enumerate(MOMENTS):
        name, sig = TURNS[(n + turn) % len(TURNS)]
        fresh.kill_at(moment, name, sig)
        assert moment.stage in fresh.stale(), moment
        output += fresh.output() + logged(fresh)
    output += (fresh.repro() if turn % 2 else fresh.snakemake()) + logged(fresh)
    assert output.count("goes on from its last checkpoint") == len(TRAINED)
    assert_nothing_lost(fresh, whole)
    killed = [run for run in fresh.runs() if run.info.status != "FINISHED"]
    assert {run.info.status for run in killed} == {"FAILED", "KILLED"}


@pytest.mark.skipif("GLTA_KILL_SEED" not in os.environ, reason="set GLTA_KILL_SEED to a number")
def test_killed_at_random(whole, fresh):
    rng = random.Random(int(os.environ["GLTA_KILL_SEED"]))
    for n in range(4):
        name, sig = TURNS[n]
        process = fresh.start(*ENGINES[name])
        time.sleep(rng.uniform(1, 12))
        if process.poll() is None:
            fresh.kill(process, sig)
    fresh.snakemake()
    assert_nothing_lost(fresh, whole)
