"""Test the records in MLflow: pipeline runs, links, models, and the best model on validation."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.engine.invocation import VARIABLE, Invocation
from pipeline.engine.snapshot import Snapshot
from pipeline.tracking import models
from pipeline.tracking.environment import environment_of
from pipeline.tracking.execution import Execution
from pipeline.tracking.records import headline, input_tags, inputs_of, main_first
from pipeline.tracking.store import LOCATIONS
from tests.browser import wait_for
from tests.pipeline.repository import DOWNSTREAM, LOCAL, TRAINS

STEPS = "settings.lightgcn-text-knn.weight_steps"

pytestmark = pytest.mark.engines


def by_stage(toy) -> dict:
    return {run.data.tags["stage"]: run for run in reversed(toy.runs())}  # the newest wins


def test_one_pipeline_run_for_each_call_of_an_engine(cold):
    (first,) = cold.pipeline_runs()
    assert first.info.run_name.startswith("snakemake 20") and first.info.status == "FINISHED"
    assert first.data.tags["cmd"].startswith("snakemake --cores 2")
    children = {run.data.tags["mlflow.parentRunId"] for run in cold.runs()}
    assert children == {first.info.run_id}
    assert first.data.metrics["stages"] == 6 and first.data.metrics["stages_failed"] == 0
    assert first.data.metrics["stage_seconds"] > 0 and first.data.metrics["peak_memory_bytes"] > 1e6

    cold.set_steps(31)
    cold.repro()
    second = cold.pipeline_runs()[0]
    assert len(cold.pipeline_runs()) == 2 and second.data.tags["cmd"] == "dvc repro"
    mine = [run for run in cold.runs() if run.data.tags["mlflow.parentRunId"] == second.info.run_id]
    assert {run.data.tags["stage"] for run in mine} == DOWNSTREAM
    assert second.data.metrics["stages"] == 5


def test_failed_stage_says_why_and_fails_its_pipeline_run(toy):
    with (toy.folder / "toy/train.py").open("a") as f:
        f.write(
            'from glta.progress import record_error\nrecord_error("no such thing")\nsys.exit(3)\n'
        )
    toy("dvc", "repro", status=255)
    failed = toy.runs()[0]
    assert (
        failed.info.status == "FAILED"
        and failed.data.tags["error"] == "exit status 3: no such thing"
    )
    assert toy.pipeline_runs()[0].info.status == "FAILED"
    assert toy.pipeline_runs()[0].data.metrics["stages_failed"] == 1


def test_runs_link_to_those_before_and_after_them(toy):
    runs = by_stage(toy)
    prepare, train, report = runs["prepare"], runs["train@popularity"], runs["report"]
    link = f"[prepare](#/experiments/{prepare.info.experiment_id}/runs/{prepare.info.run_id}"
    assert f"{link}?workflowType=machine_learning)" in train.data.tags["mlflow.note.content"]
    users = {stage for _, stage in json.loads(prepare.data.tags["used_by"])}
    assert users >= set(TRAINS) and train.info.run_id in prepare.data.tags["mlflow.note.content"]
    made_from = {stage for _, stage in json.loads(report.data.tags["made_from"])}
    assert made_from == {"evaluate@popularity", "evaluate@text-knn"}
    assert (
        train.data.tags["dvc.out.data/models/popularity"][:12]
        in train.data.tags["mlflow.note.content"]
    )


def test_models_have_inputs_metrics_and_versions(toy):
    client, runs = toy.mlflow(), by_stage(toy)
    train, evaluate = runs["train@popularity"], runs["evaluate@popularity"]
    model = client.get_logged_model(train.data.tags["model.id"])
    assert (
        model.name == "popularity"
        and model.status == "READY"
        and model.source_run_id == train.info.run_id
    )
    assert model.tags["dvc.md5"] == train.data.tags["dvc.out.data/models/popularity"]
    assert model.params == {"settings.lightgcn-text-knn.weight_steps": "21"}
    inputs = client.get_run(evaluate.info.run_id).inputs  # a search leaves the models out
    assert [i.model_id for i in inputs.model_inputs] == [model.model_id]
    (metric,) = [m for m in model.metrics if m.key == "valid/ndcg_at_20"]
    assert metric.value == 0.1 and metric.dataset_name == "data/prepare"
    assert inputs_of(evaluate.data.tags)["data/prepare"].startswith(metric.dataset_digest)
    versions = client.search_model_versions("name='toy'")
    assert {v.tags["method"] for v in versions} == {"popularity", "text-knn"} and len(versions) == 2
    made = {run.data.tags["model.id"] for run in runs.values() if "model.id" in run.data.tags}
    assert {v.source for v in versions} == {f"models:/{model_id}" for model_id in made}


def test_the_best_model_is_chosen_on_validation(toy):
    """Popularity is best on test, text-knn on validation.

    A method that is no longer in the matrix cannot stay the best.
    """
    client, runs = toy.mlflow(), by_stage(toy)
    test = {
        method: runs[f"evaluate@{method}"].data.metrics["ndcg_at_20"]
        for method in ("popularity", "text-knn")
    }
    assert test["popularity"] > test["text-knn"]
    assert client.get_model_version_by_alias("toy", "best").tags["method"] == "text-knn"
    toy.edit("params.yaml", r"^methods: .*", "methods: [popularity, lightgcn-text-knn]")
    toy.repro()
    best = client.get_model_version_by_alias("toy", "best")
    assert best.tags["method"] == "popularity"
    assert (
        best.tags["dvc.md5"] == runs["train@popularity"].data.tags["dvc.out.data/models/popularity"]
    )

    toy.edit("params.yaml", r"^methods: .*", "methods: [popularity, text-knn]")
    # all results come from the cache, so no run has updated the alias yet
    toy.repro()
    toy(sys.executable, "-c", "from pipeline.tracking.records import tidy; tidy()")
    assert client.get_model_version_by_alias("toy", "best").tags["method"] == "text-knn"
    assert len(client.search_model_versions("name='toy'")) == 3


def test_a_mean_over_seeds_decides(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    # the old value is restored after the test
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("glta", artifact_location=tmp_path.as_uri())
    values = {("a", 0): 0.9, ("a", 1): 0.1, ("b", 0): 0.6, ("b", 1): 0.6}
    model_values = [
        models.ModelValue(
            registered="books",
            method=method,
            seed=seed,
            metric="valid/ndcg@20",
            value=value,
            path=f"data/{method}/{seed}",
            digest=f"{method}{seed}",
        )
        for (method, seed), value in values.items()
    ]
    for measured in model_values:
        run = client.create_run(experiment).info.run_id
        model = models.log_model(
            client, experiment, run, path=measured.path, digest=measured.digest, params={}, tags={}
        )
        models.register(client, measured, model, run)
        models.register(client, measured, model, run)
    models.set_best(client, model_values)
    best = client.get_model_version_by_alias("books", "best")
    assert (best.tags["method"], best.tags["seed"]) == ("b", "0")
    assert len(client.search_model_versions("name='books'")) == 4


def test_runs_survive_a_lost_database(toy):
    (toy.folder / "mlflow.db").unlink()
    toy.set_steps(51)
    toy.snakemake()
    toy.assert_clean()
    assert {run.data.tags["stage"] for run in toy.runs()} == DOWNSTREAM
    assert json.loads(by_stage(toy)["train@popularity"].data.tags["made_from"]) == []


def test_without_git_history_the_commit_is_unknown(toy):
    shutil.rmtree(toy.folder / ".git")
    toy("git", "init", "-q")
    toy.set_steps(61)
    toy.repro()
    assert "commit `unknown`" in by_stage(toy)["report"].data.tags["mlflow.note.content"]


def test_invocation_of_a_process(monkeypatch):
    import os

    # `announce` below sets it; monkeypatch removes it after the test
    monkeypatch.setenv(VARIABLE, "")
    mine = Invocation.of(os.getpid())
    assert mine == Invocation.of(os.getpid())
    assert abs(mine.started - time.time()) < 24 * 3600 and mine.command
    mine.announce()
    assert Invocation.current() == mine


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and modification time of every file."""
    found = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def test_a_copy_of_a_checkout_leaves_the_original_alone(toy, tmp_path):
    """Stores of earlier versions named the folder of their first run; the copy has such a one."""
    original = toy.folder
    with closing(sqlite3.connect(original / "mlflow.db")) as database, database:
        for table, column in (("experiments", "artifact_location"), *LOCATIONS):
            database.execute(
                f"UPDATE {table} SET {column} = ? || {column} WHERE {column} LIKE 'mlartifacts%'",
                (f"{original.as_uri()}/",),
            )
    toy.folder = tmp_path / "a copy"
    shutil.copytree(original, toy.folder, symlinks=True, ignore=LOCAL)
    toy.env["DVC_SITE_CACHE_DIR"] = str(toy.folder / ".site")
    before = files_of(original)
    earlier = by_stage(toy)["report"]
    toy("dvc", "repro", "-f", "-s", "report")
    assert files_of(original) == before
    later = by_stage(toy)["report"]
    assert later.info.run_id != earlier.info.run_id
    for run in (toy.mlflow().get_run(earlier.info.run_id), later):
        assert run.info.artifact_uri == f"mlartifacts/{run.info.run_id}/artifacts"
        assert (toy.folder / run.info.artifact_uri / "index.html").is_file()
    model = toy.mlflow().get_logged_model(by_stage(toy)["train@popularity"].data.tags["model.id"])
    assert (toy.folder / model.artifact_location / "README.md").is_file()
    with closing(sqlite3.connect(toy.folder / "mlflow.db")) as database:
        assert str(original) not in "\n".join(database.iterdump())


def test_the_report_is_kept_where_mlflow_can_have_no_copy(toy):
    shutil.rmtree(toy.folder / "mlartifacts")
    (toy.folder / "mlartifacts").write_text("in the way")
    output = toy("dvc", "repro", "-f", "-s", "report")
    assert "MLflow has no copy of data/report" in output and "the result is kept" in output
    assert (toy.folder / "data/report/metrics.json").is_file() and "Traceback" not in output
    assert by_stage(toy)["report"].info.status == "FINISHED"


@pytest.mark.slow
def test_a_result_outlives_its_record(toy):
    """The database breaks while a stage works: the result wins, and its run is written later."""
    toy.set_steps(31)
    toy.hold()
    engine = toy.start("dvc", "repro", "train@popularity")
    toy.wait_for_training()
    wait_for(lambda: list((toy.folder / ".pipe/runs").iterdir()), "the run to open")
    database = toy.folder / "mlflow.db"
    wait_for(lambda: toy.runs()[0].info.status == "RUNNING", "the run to open")
    wait_for(lambda: "made_from" in toy.runs()[0].data.tags, "the inputs to be logged")
    # for the last writes of this beginning
    time.sleep(1)
    good = database.read_bytes()
    database.write_bytes(b"damaged" * 1000)
    toy.release()
    assert engine.wait(60) == 0, toy.output()
    assert "the result is kept, but its run could not be recorded" in toy.output()
    assert "mlflow.db.damaged" in toy.output() and "Traceback" not in toy.output()
    (waiting,) = (toy.folder / ".pipe/unrecorded").glob("*.json")
    assert "train@popularity" not in toy.stale()

    database.write_bytes(good)
    output = toy("glta", "lineage", "check", status=1)
    assert "train@popularity: its run is recorded now" in output
    assert "problem: train@popularity" not in output
    assert not waiting.exists()
    (run,) = [r for r in toy.runs() if r.data.params.get(STEPS) == "31"]
    assert run.info.status == "FINISHED" and run.data.metrics["seconds"] > 0
    assert run.data.tags["dvc.out.data/models/popularity"]


def test_runs_name_what_they_are_about(toy):
    run = by_stage(toy)["train@popularity"]
    assert environment_of(run.data.tags)["numpy"] == importlib.metadata.version("numpy")
    assert "**Computed with**" in run.data.tags["mlflow.note.content"]
    (above,) = toy.pipeline_runs()
    assert above.data.params == {
        "datasets": "sample",
        "seeds": "0",
        "methods": "popularity, text-knn",
    }
    assert above.data.tags["method"] == "popularity, text-knn" and above.data.tags["seed"] == "0"
    assert above.data.metrics["ndcg_at_20/popularity"] == 0.21
    execution = Execution.begin(
        "train@books-3-ease",
        ["python", "-m", "train", "--dataset", "books", "--seed", "3", "--step", "ease"],
        Snapshot({}, {}, {}, [], {}),
        {},
    )
    assert execution.subject == {"dataset": "books", "seed": "3", "step": "ease"}


def test_main_numbers_come_first():
    values = {"coverage@20": 1, "ndcg@20": 2, "valid/ndcg@20": 3}
    assert list(main_first(values, "valid/ndcg@20")) == ["ndcg@20", "valid/ndcg@20", "coverage@20"]
    seeds = {"0": {"ndcg@20": 0.2, "cold/ndcg@20": 9}, "1": {"ndcg@20": 0.4}}
    assert headline({"books": {"ease": seeds}}, "ndcg@20") == {
        "ndcg@20/books/ease": pytest.approx(0.3)
    }


def test_hashes_of_many_inputs_fit_into_tags():
    deps = {f"data/evaluate/{n}/metrics.json": f"{n:032x}" for n in range(500)}
    tags = input_tags(deps)
    assert len(tags) > 1 and all(len(text) <= 5000 for text in tags.values())
    assert inputs_of(tags | {"stage": "report"}) == deps
    # as earlier versions wrote them
    assert inputs_of({"dvc.in.data/x": "1", "dvc.out.data/y": "2"}) == {"data/x": "1"}
    assert inputs_of({}) == {}


def test_a_deleted_experiment_names_the_command_that_restores_it(toy):
    client = toy.mlflow()
    number = client.get_experiment_by_name("glta").experiment_id
    client.delete_experiment(number)
    toy.set_steps(31)
    for command in (["snakemake", "--cores", "1"], ["glta", "ui"]):
        output = toy(*command, status=None)
        assert f"mlflow experiments restore --experiment-id {number}" in output, output
        assert "Traceback" not in output
    assert toy.executed() == []


@pytest.mark.slow
def test_a_store_that_cannot_be_used_stops_everything_before_any_work(toy):
    """A result without its run would be a number without a source."""
    toy.set_steps(31)
    toy.env |= {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    started = time.monotonic()
    for command in (["snakemake", "--cores", "1"], ["dvc", "repro"], ["glta", "ui"]):
        output = toy(*command, status=None)
        assert "MLFLOW_TRACKING_URI = http://127.0.0.1:9: nothing listens there" in output
        assert "Traceback" not in output
    assert time.monotonic() - started < 60
    assert "train@popularity" in toy.stale()
    del toy.env["MLFLOW_TRACKING_URI"]
    toy("dvc", "repro", "train@popularity")


def test_without_git_one_line_says_what_to_do(toy):
    """The project came as a ZIP."""
    shutil.rmtree(toy.folder / ".git")
    for command in (["snakemake", "-n"], ["glta", "lineage", "check"], ["glta", "why", "report"]):
        output = toy(*command, status=1)
        assert "is not a git repository, and DVC works in one alone" in output
        assert "git init" in output and "Traceback" not in output
    toy("git", "init", "-q")
    toy("dvc", "repro", "-f", "-s", "report")
    run = by_stage(toy)["report"]
    assert "git.commit" in run.data.tags and run.data.tags["git.dirty"] == "true"
    assert "the repository has no commit yet" in run.data.tags["mlflow.note.content"]
