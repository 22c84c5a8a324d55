"""Test MLflow's UI in a real browser: an auditor can read all records and follow the links.

`python -m tests.pipeline.test_ui CHECKOUT FOLDER` takes the pictures of docs/ from a checkout that
has run.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.tracking.records import inputs_of
from tests.browser import CHROMIUM, Browser, wait_for
from tests.pipeline.repository import Toy

CLOSE_ASSISTANT = (
    "document.querySelector('[data-component-id=\"mlflow.assistant.chat_panel.close\"]')?.click()"
)
EXPAND = "document.querySelectorAll('[role=gridcell] button').forEach(button => button.click())"


@contextmanager
def ui(folder: Path, env: dict[str, str]) -> Iterator[str]:
    """Start `glta ui` in a checkout. Yields the address of the experiment's pages."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = ["glta", "ui", "--port", str(port)]
    with (folder / "ui.log").open("w") as log:
        own = env | {"PYTHONPATH": str(folder)}
        server = subprocess.Popen(
            command, cwd=folder, env=own, stdout=log, stderr=log, start_new_session=True
        )
    try:

        def listens() -> bool:
            assert server.poll() is None, (folder / "ui.log").read_text()
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0

        wait_for(listens, "MLflow to start", 120)
        yield f"http://127.0.0.1:{port}/#"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium found")
def test_an_auditor_can_read_all_records(cold, tmp_path):
    """The pages show pipeline runs with their stages, links, datasets, models and versions.

    They mark the best version. A killed stage is not shown as running.
    """
    cold.set_steps(31)
    cold.hold()
    engine = cold.start("dvc", "repro")
    cold.wait_for_training()
    wait_for(lambda: cold.runs()[0].info.status == "RUNNING", "the run to open")
    os.killpg(engine.pid, signal.SIGKILL)
    engine.wait()
    cold.release()
    runs = {run.data.tags["stage"]: run for run in cold.runs() if run.info.status == "FINISHED"}
    train, evaluate, prepare = runs["train@text-knn"], runs["evaluate@text-knn"], runs["prepare"]
    experiment = f"/experiments/{train.info.experiment_id}"
    with ui(cold.folder, cold.env) as address, Browser(tmp_path) as browser:
        killed = cold.runs()[0]
        page = browser.open(
            f"{address}{experiment}/runs/{killed.info.run_id}", killed.data.tags["stage"], "killed"
        )
        assert "Killed" in page and "Running" not in page
        pipeline_runs = cold.pipeline_runs()
        shown = f"{address}{experiment}/runs?workflowType=machine_learning"
        assert f"The runs are at {shown} " in (cold.folder / "ui.log").read_text()
        browser.open(shown, *(run.info.run_name for run in pipeline_runs))
        browser.evaluate(EXPAND)
        browser.read("prepare", "train@text-knn", "evaluate@popularity", "report")

        # the report was made before this checkout was copied from another one
        report = runs["report"].info.run_id
        browser.open(f"{address}{experiment}/runs/{report}/artifacts", "metrics.json")
        kept = f"{address.removesuffix('#')}get-artifact?path=metrics.json&run_uuid={report}"
        with urllib.request.urlopen(kept) as answer:
            assert json.load(answer)["popularity"]["ndcg@20"] == 0.21

        digest = train.data.tags["dvc.out.data/models/text-knn"]
        browser.open(
            f"{address}{experiment}/runs/{train.info.run_id}",
            "Made from prepare",
            "Used by evaluate@text-knn",
            digest[:12],
            "settings.lightgcn-text-knn.weight_steps",
            "Logged models (1)",
            f"data/prepare ({inputs_of(train.data.tags)['data/prepare']})",
            train.data.tags["git.commit"],
            pipeline_runs[-1].info.run_name,
        )
        browser.click("prepare")
        browser.read("Used by", prepare.info.run_id)

        browser.open(
            f"{address}{experiment}/runs/{evaluate.info.run_id}",
            "valid/ndcg_at_20",
            "0.125",
            "Input",
            "text-knn",
        )
        browser.open(
            f"{address}{experiment}/models/{train.data.tags['model.id']}",
            "Ready",
            "valid/ndcg_at_20",
            "evaluate@text-knn",
            "data/prepare",
            "toy\nv",
        )
        versions = browser.open(
            f"{address}/models/toy", "Version 1", "Version 2", "method", "best"
        ).split("Version ")
        assert [v for v in versions if "best" in v][-1].count("text-knn")


def take_pictures(checkout: Path, folder: Path) -> None:
    """Save the pages that docs/lineage.md shows, from a checkout that has run.

    They show GLTA's own stage on the first dataset.
    """
    toy = Toy(checkout)
    runs = {
        run.data.tags["stage"]: run for run in reversed(toy.runs()) if run.info.status == "FINISHED"
    }
    align = next(run for stage, run in runs.items() if stage.startswith("align_users@"))
    dataset = align.data.tags["stage"].removeprefix("align_users@").rpartition("-")[0]
    download = runs[f"download@{dataset}"]
    model = align.data.tags["stage"].replace("align_users@", "glta@")
    experiment = f"/experiments/{align.info.experiment_id}"
    parent = next(
        run
        for run in toy.pipeline_runs()
        if run.info.run_id == align.data.tags["mlflow.parentRunId"]
    )
    folder.mkdir(parents=True, exist_ok=True)
    with (
        ui(checkout, toy.env) as address,
        tempfile.TemporaryDirectory() as profile,
        Browser(Path(profile), 1400, 1150) as browser,
    ):
        pages = {
            "runs": (f"{experiment}/runs?workflowType=machine_learning", parent.info.run_name),
            "run": (f"{experiment}/runs/{align.info.run_id}", "Made from"),
            "dataset": (f"{experiment}/runs/{download.info.run_id}", "Used by"),
            "model": (
                f"{experiment}/models/{runs[model].data.tags['model.id']}",
                "valid/ndcg_at_20",
            ),
            "registry": (f"/models/{dataset}", "best"),
        }
        for name, (path, expected) in pages.items():
            browser.open(address + path, expected)
            if name == "runs":
                browser.evaluate(EXPAND)
                browser.read("report")
            browser.evaluate(CLOSE_ASSISTANT)
            time.sleep(2)  # for what moves into place
            browser.picture(folder / f"mlflow-{name}.png")


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute())
