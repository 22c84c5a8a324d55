"""Test stages that run at once, experiments in a queue, and two users at once in one checkout."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.pipeline.repository import DOWNSTREAM, EVALUATES, TRAINS

pytestmark = [pytest.mark.engines, pytest.mark.slow]


def test_independent_stages_run_side_by_side(toy):
    toy.set_steps(31)
    toy.hold()
    engine = toy.start("snakemake", "--cores", "2")
    assert len(toy.wait_for_training(2)) == 2
    toy.release()
    assert engine.wait(60) == 0, toy.output()
    for stage in TRAINS:
        assert (
            toy.folder / "data/models" / stage.removeprefix("train@") / "threads.txt"
        ).read_text() == "1"
    toy.assert_clean()


@pytest.mark.parametrize(
    "arguments", [["--cores", "3"], ["--cores", "4", "--resources", "mem_mb=150"]]
)
def test_threads_and_memory_are_those_of_dvc_yaml(toy, arguments):
    """With memory or cores for one training only, trainings run one after the other."""
    toy.edit("dvc.yaml", r"threads: 1", "threads: 2")
    toy.set_steps(31)
    toy.hold()
    engine = toy.start("snakemake", *arguments)
    toy.wait_for_training()
    time.sleep(4)
    (script,) = toy.wait_for_training()
    assert "OMP_NUM_THREADS=2" in Path(f"/proc/{script}/environ").read_text().split("\0")
    os.killpg(engine.pid, signal.SIGKILL)


def test_many_stages_at_once_without_a_database(toy):
    """Of 24 stages, six run at once. Each runs once, and one of them makes MLflow's database."""
    (toy.folder / "mlflow.db").unlink()
    text = (toy.folder / "dvc.yaml").read_text()
    text = text.replace(
        "method: ${methods}\n", "method: ${methods}\n      copy: [1, 2, 3, 4, 5, 6]\n"
    )
    text = re.sub(
        r"(data/(?:models|evaluate))/\$\{item.method\}", r"\1/${item.method}-${item.copy}", text
    )
    text = re.sub(
        r"(toy\.(?:train|evaluate)) \$\{item.method\}", r"\1 ${item.method}-${item.copy}", text
    )
    (toy.folder / "dvc.yaml").write_text(text)
    toy("snakemake", "--cores", "6")
    stages = [f"{stage}-{copy}" for stage in TRAINS + EVALUATES for copy in range(1, 7)]
    assert toy.executed() == sorted([*stages, "report"])
    assert {run.info.status for run in toy.runs()} == {"FINISHED"} and len(toy.runs()) == 25
    assert len(toy.pipeline_runs()) == 1
    assert "didn't change" in toy.repro()
    toy.assert_clean()


@pytest.mark.parametrize(
    ("first", "seconds"),
    [
        (("snakemake", "--cores", "2"), (("snakemake", "-n"), ("dvc", "repro"))),
        (
            ("dvc", "repro"),
            (("snakemake", "--cores", "2"), ("dvc", "repro", "-s", "train@text-knn")),
        ),
    ],
    ids=["snakemake", "dvc"],
)
def test_two_users_at_once(toy, first, seconds):
    """The second user reads who is using the checkout, and no result is damaged."""
    toy.set_steps(31)
    toy.hold()
    engine = toy.start(*first)
    toy.wait_for_training()
    for second in seconds:
        output = toy(*second, status=None)
        assert f"`{' '.join(first)}`" in output or "is busy" in output, output
        assert "Traceback" not in output
        if second[0] == "snakemake":
            assert re.search(
                rf"`{' '.join(first)}` of \w+ uses this checkout since .* \(process \d+ on ", output
            ), output
    assert engine.poll() is None
    toy.release()
    assert engine.wait(60) == 0, toy.output()
    assert set(toy.executed()) == DOWNSTREAM
    toy.assert_clean()


def test_experiments(cold):
    """One experiment runs in the workspace, two run from the queue.

    Every run has the name of its experiment, and each experiment has its own group.
    """
    cold.commit("before the experiments")
    known = {run.info.run_id for run in cold.all_runs()}
    cold("dvc", "exp", "run", "-n", "here", "-S", "settings.lightgcn-text-knn.weight_steps=31")
    cold.assert_clean()
    for steps in (33, 34):
        cold(
            "dvc",
            "exp",
            "run",
            "-n",
            f"queued{steps}",
            "--queue",
            "-S",
            f"settings.lightgcn-text-knn.weight_steps={steps}",
        )
    cold("dvc", "queue", "start", "-j", "2")
    deadline = time.monotonic() + 120
    while cold("dvc", "queue", "status").count("Success") < 2:
        assert time.monotonic() < deadline, cold("dvc", "queue", "status")
        time.sleep(1)
    names = {"here": 31, "queued33": 33, "queued34": 34}
    new = [run for run in cold.all_runs() if run.info.run_id not in known]
    groups = {run.info.run_id: run for run in new if "stage" not in run.data.tags}
    assert len(groups) == len(names)
    for name, steps in names.items():
        runs = [
            run for run in new if run.data.tags.get("dvc.exp") == name and "stage" in run.data.tags
        ]
        assert {run.data.tags["stage"] for run in runs} == DOWNSTREAM, name
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert {
            r.data.params["settings.lightgcn-text-knn.weight_steps"]
            for r in runs
            if r.data.tags["stage"] in TRAINS
        } == {str(steps)}
        (group,) = {run.data.tags["mlflow.parentRunId"] for run in runs}
        assert name in groups[group].info.run_name
    cold("dvc", "exp", "apply", "queued33")
    assert " 33 " in (cold.folder / "data/models/popularity/model.txt").read_text()
    cold.assert_clean()
