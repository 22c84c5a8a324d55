"""Stages side by side, experiments in a queue, and two people at once in one checkout."""

from __future__ import annotations

import re
import time

import pytest

from tests.pipeline.repository import DOWNSTREAM, EVALUATES, TRAINS

pytestmark = [pytest.mark.engines, pytest.mark.slow]


def test_independent_stages_run_side_by_side(warm):
    warm.set_steps(31)
    warm.hold()
    engine = warm.start("snakemake", "--cores", "2")
    assert len(warm.wait_for_training(2)) == 2
    warm.release()
    assert engine.wait(60) == 0, warm.output()
    for stage in TRAINS:
        assert (warm.folder / "data/models" / stage.removeprefix("train@") / "threads.txt").read_text() == "1"
    warm.assert_clean()


def test_threads_and_memory_are_those_of_dvc_yaml(warm):
    """Half the memory of two trainings, or too few cores for their threads: one after the other."""
    warm.edit("dvc.yaml", r"threads: 1", "threads: 2")
    for n, arguments in enumerate((["--cores", "3"], ["--cores", "4", "--resources", "mem_mb=150"])):
        warm.set_steps(31 + n)
        warm.hold()
        engine = warm.start("snakemake", *arguments)
        warm.wait_for_training()
        time.sleep(5)
        assert len(warm.wait_for_training()) == 1
        warm.release()
        assert engine.wait(60) == 0, warm.output()
        assert (warm.folder / "data/models/popularity/threads.txt").read_text() == "2"


def test_many_stages_at_once_without_a_database(warm):
    """36 stages, six at a time: each runs once, and MLflow's first use is a matter of one."""
    (warm.folder / "mlflow.db").unlink()
    text = (warm.folder / "dvc.yaml").read_text()
    text = text.replace("method: ${methods}\n", "method: ${methods}\n      copy: [1, 2, 3, 4, 5, 6, 7, 8, 9]\n")
    text = re.sub(r"(data/(?:models|evaluate))/\$\{item.method\}", r"\1/${item.method}-${item.copy}", text)
    text = re.sub(r"(warm\.(?:train|evaluate)) \$\{item.method\}", r"\1 ${item.method}-${item.copy}", text)
    (warm.folder / "dvc.yaml").write_text(text)
    warm("snakemake", "--cores", "6")
    stages = [f"{stage}-{copy}" for stage in TRAINS + EVALUATES for copy in range(1, 10)]
    assert warm.executed() == sorted([*stages, "report"])
    assert {run.info.status for run in warm.runs()} == {"FINISHED"} and len(warm.runs()) == 37
    assert len(warm.pipeline_runs()) == 1
    assert "didn't change" in warm.repro()
    warm.assert_clean()


@pytest.mark.parametrize("first", [("snakemake", "--cores", "2"), ("dvc", "repro")], ids=["snakemake", "dvc"])
def test_two_people_at_once(warm, first):
    """Whoever comes second reads who has the checkout, and nothing is harmed."""
    warm.set_steps(31)
    warm.hold()
    engine = warm.start(*first)
    warm.wait_for_training()
    for second in (
        ["snakemake", "--cores", "2"],
        ["snakemake", "-n"],
        ["dvc", "repro"],
        ["dvc", "repro", "-s", "train@text-knn"],
    ):
        output = warm(*second, status=None)
        assert f"`{' '.join(first)}`" in output or "is busy" in output, output
        assert "Traceback" not in output
        if second[0] == "snakemake":
            assert re.search(rf"`{' '.join(first)}` of \w+ has this checkout since .* \(process \d+ on ", output), output
    assert engine.poll() is None
    warm.release()
    assert engine.wait(60) == 0, warm.output()
    assert set(warm.executed()) == DOWNSTREAM
    warm.assert_clean()


def test_experiments(toy):
    """In the workspace, in a copy, and two from the queue: every run carries its experiment's name and has its own group."""
    toy.commit("before the experiments")
    known = {run.info.run_id for run in toy.all_runs()}
    toy("dvc", "exp", "run", "-n", "here", "-S", "fit.weight_steps=31")
    toy.assert_clean()
    toy("dvc", "exp", "run", "-n", "copy", "--temp", "-S", "fit.weight_steps=32")
    for steps in (33, 34):
        toy("dvc", "exp", "run", "-n", f"queued{steps}", "--queue", "-S", f"fit.weight_steps={steps}")
    toy("dvc", "queue", "start", "-j", "2")
    deadline = time.monotonic() + 120
    while toy("dvc", "queue", "status").count("Success") < 2:
        assert time.monotonic() < deadline, toy("dvc", "queue", "status")
        time.sleep(1)
    names = {"here": 31, "copy": 32, "queued33": 33, "queued34": 34}
    new = [run for run in toy.all_runs() if run.info.run_id not in known]
    groups = {run.info.run_id: run for run in new if "stage" not in run.data.tags}
    assert len(groups) == len(names)
    for name, steps in names.items():
        runs = [run for run in new if run.data.tags.get("dvc.exp") == name and "stage" in run.data.tags]
        assert {run.data.tags["stage"] for run in runs} == DOWNSTREAM, name
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert {r.data.params["fit.weight_steps"] for r in runs if r.data.tags["stage"] in TRAINS} == {str(steps)}
        (group,) = {run.data.tags["mlflow.parentRunId"] for run in runs}
        assert name in groups[group].info.run_name
    toy("dvc", "exp", "apply", "queued33")
    assert " 33 " in (toy.folder / "data/models/popularity/model.txt").read_text()
    toy.assert_clean()
