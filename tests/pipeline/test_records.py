"""Test the records in MLflow: pipeline runs, links, models, and the best model on validation."""

from __future__ import annotations

import json
import shutil
import sys
import time

import pytest

from pipeline.engine.invocation import VARIABLE, Invocation
from pipeline.tracking import models
from pipeline.tracking.records import inputs_of
from tests.pipeline.repository import DOWNSTREAM, TRAINS

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


@pytest.mark.slow
def test_a_server_out_of_reach_fails_the_stage_in_one_line(toy):
    """A result without its run would be a number without a source."""
    toy.set_steps(31)
    toy.env |= {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    output = toy("dvc", "repro", "train@popularity", status=255)
    assert "MLflow at http://127.0.0.1:9 failed: " in output and "Traceback" not in output
    assert "train@popularity" in toy.stale()
    del toy.env["MLFLOW_TRACKING_URI"]
    toy.repro()
    toy.assert_clean()
