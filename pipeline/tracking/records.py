"""Record one MLflow run for every executed stage, below one run for every call of an engine.

Except for the studies of `glta tune`, nothing else writes to MLflow.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from pipeline.engine.code import is_data
from pipeline.engine.invocation import Invocation, user
from pipeline.engine.snapshot import Snapshot, Workspace
from pipeline.tracking import models

logging.getLogger("mlflow").setLevel(logging.WARNING)

T = TypeVar("T")

# the main checkout, also from the copy of it that `dvc exp run --temp` or `--queue` works in
HOME = Path(str(Path.cwd()).split("/.dvc/tmp/exps/")[0])
DATABASE = HOME / "mlflow.db"
EXPERIMENT = "glta"
# one file for each running stage, locked while its runner lives
RUNS = HOME / ".pipe/runs"
# held while a stage reads and then writes what several stages share
LOCK = HOME / ".pipe/mlflow.lock"
# MLflow's limit for the parameters and tags of one call
BATCH = 100
# tags that MLflow's UI reads
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
# a run's description names the newest runs that used its outputs, this many at most
MOST_USERS = 50


def open_client() -> MlflowClient:
    """Connect to the server of MLFLOW_TRACKING_URI, or to mlflow.db when it is not set."""
    return MlflowClient(tracking_address())


def tracking_address() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DATABASE}"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock. The kernel releases it when this process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def search(client: MlflowClient, experiment: str, filter_string: str) -> Iterator[MlflowRun]:
    """Yield all runs that match a filter of MLflow, newest first."""
    token = None
    while token != "":
        page = client.search_runs([experiment], filter_string, page_token=token)
        yield from page
        token = page.token or ""


class Run:
    """Record one stage while it runs."""

    def __init__(self, stage: str, cmd: list[str], before: Snapshot):
        self._stage = stage
        self._meta = before.meta
        self._params = before.effective_params
        self._deps = before.deps
        # number of lines of the script's records that are logged
        self._lines = 0
        # {path: id of the LoggedModel}
        self._dependent_models: dict[str, str] = {}
        # the script's own error message
        self.error = ""
        self._code = commit()
        exp = os.environ.get("DVC_EXP_NAME")
        tags = {
            "stage": stage,
            "cmd": " ".join(cmd),
            **self._code,
            **_origin(" ".join(cmd), self._code, exp),
        }
        # without the lock, two first uses at once would break the database's migration
        with locked(LOCK):
            self.client = open_client()
            self._experiment = experiment_id(self.client)
            sweep(self.client)
            self._parent = _pipeline_run(self.client, self._experiment, exp, self._code)
            tags |= {PARENT: self._parent}
            self.id = self.client.create_run(
                self._experiment, run_name=stage, tags=tags
            ).info.run_id
            self._alive = locked(RUNS / self.id)
            self._alive.__enter__()

    def log_inputs(self) -> None:
        """Log the parameters, the hashes of the dependencies, and the runs that made them.

        Dependencies that are models or datasets are logged as such too.
        """
        with locked(LOCK):
            self._log(
                params=self._params,
                tags={f"dvc.in.{path}": digest for path, digest in self._deps.items()},
            )
            self._link()
        sources = [
            Dataset(
                name=path, digest=digest[:36], source_type="local", source=json.dumps({"uri": path})
            )
            for path, digest in self._deps.items()
            if is_data(path) and path not in self._dependent_models
        ]
        self._log_inputs(sources)

    def log_epochs(self, path: Path) -> None:
        """Log the complete lines that the script has added to its records since the last call."""
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()[self._lines :]
        self._lines += len(lines)
        for values in map(json.loads, lines):
            if "error" in values:
                self.error = values["error"]
                continue
            step = int(values.pop("step"))
            self._log(metrics=values, step=step)

    def log_results(self, after: Snapshot, costs: dict[str, float], workspace: Workspace) -> None:
        """Log what the stage wrote: hashes of the outputs, metrics, and archives as datasets.

        With `meta.model` the output is logged as a LoggedModel. With `meta.measures` the metrics
        belong to another stage's model. With `meta.artifacts` the files themselves are logged.
        """
        self._log(
            tags={f"dvc.out.{path}": digest for path, digest in after.outs.items()}, metrics=costs
        )
        measures: dict[str, Any] = self._meta.get("measures") or {}
        model_id = self._dependent_models.get(measures["model"]) if measures else None
        of_model = self._measured_on(model_id, measures) if model_id else {}
        for path in after.metrics:
            values = dict(_flat(json.loads(Path(path).read_text(encoding="utf-8"))))
            self._log(metrics=values, of_model=of_model)
        if after.meta.get("artifacts"):
            self._log_files(map(Path, after.outs))
        folders = [path for path in map(Path, after.outs) if (path / "source.json").is_file()]
        self._log_inputs([archive for folder in folders for archive in _archives(folder)])
        if model := self._meta.get("model"):
            made = models.log_model(
                self.client,
                self._experiment,
                self.id,
                model,
                after.outs[model],
                self._params,
                self._code,
            )
            self.client.set_tag(self.id, "model.id", made)
        with locked(LOCK):
            if model_id:
                maker = self.client.get_logged_model(model_id).source_run_id
                for measured in workspace.model_values():
                    if measured.path == measures["model"]:
                        models.register(self.client, measured, model_id, maker)
                # an experiment must not replace the checkout's own results
                if Path.cwd() == HOME:
                    models.set_best(self.client, workspace.model_values())
            self._describe(self.id)

    def _log_files(self, paths: Iterable[Path]) -> None:
        for path in paths:
            if path.is_dir():
                self.client.log_artifacts(self.id, str(path), path.name)
            else:
                self.client.log_artifact(self.id, str(path))

    def close(self, error: str) -> None:
        """End the run as FINISHED, or as FAILED when error is not empty."""
        if error:
            self.client.set_tag(self.id, "error", f"{error}: {self.error}" if self.error else error)
        with locked(LOCK):
            self.client.set_terminated(self.id, "FAILED" if error else "FINISHED")
            (RUNS / self.id).unlink()
            self._alive.__exit__(None, None, None)
            _settle(self.client, self._experiment, self._parent)

    def _link(self) -> None:
        """Find the runs that made the inputs, by hash, and link both sides."""
        todo = {path: digest for path, digest in self._deps.items() if is_data(path)}
        makers: dict[str, list[str]] = {}
        for path in list(todo):
            if path not in todo or not todo[path]:
                continue
            found = self.client.search_runs(
                [self._experiment],
                f"tags.`dvc.out.{path}` = '{todo[path]}' and attributes.status = 'FINISHED'",
                max_results=1,
            )
            for maker in found:
                outs = {p for p in todo if maker.data.tags.get(f"dvc.out.{p}") == todo[p]}
                makers |= {p: [maker.info.run_id, maker.data.tags["stage"]] for p in outs}
                self._dependent_models |= {
                    p: maker.data.tags["model.id"] for p in outs if "model.id" in maker.data.tags
                }
                users = json.loads(maker.data.tags.get("used_by", "[]"))
                self.client.set_tag(
                    maker.info.run_id,
                    "used_by",
                    json.dumps([*users, [self.id, self._stage]][-MOST_USERS:]),
                )
                self._describe(maker.info.run_id)
                for p in outs:
                    del todo[p]
        self.client.set_tag(
            self.id, "made_from", json.dumps(sorted({tuple(m) for m in makers.values()}))
        )
        self._describe(self.id)
        if inputs := sorted(set(self._dependent_models.values())):
            self.client.log_inputs(
                self.id, models=[LoggedModelInput(model_id) for model_id in inputs]
            )

    def _describe(self, run_id: str) -> None:
        """Rewrite a run's description from its tags."""
        self.client.set_tag(
            run_id, NOTE, describe(self.client.get_run(run_id).data.tags, self._experiment)
        )

    def _measured_on(self, model_id: str, measures: dict) -> dict[str, str]:
        """Return which model and which dataset a metric belongs to."""
        data = measures["data"]
        return {"model_id": model_id} | (
            {"dataset_name": data, "dataset_digest": self._deps[data][:36]}
            if data in self._deps
            else {}
        )

    def _log_inputs(self, datasets: list[Dataset]) -> None:
        if datasets:
            context = [InputTag("mlflow.data.context", self._stage)]
            self.client.log_inputs(self.id, [DatasetInput(d, context) for d in datasets])

    def _log(
        self,
        params: dict[str, Any] | None = None,
        tags: dict | None = None,
        metrics: dict | None = None,
        step: int = 0,
        of_model: dict[str, str] | None = None,
    ) -> None:
        for numbers in _batches(points(metrics or {}, step, **(of_model or {}))):
            self.client.log_batch(self.id, metrics=numbers)
        for values in _batches([Param(k, str(v)) for k, v in (params or {}).items()]):
            self.client.log_batch(self.id, params=values)
        for marks in _batches([RunTag(k, str(v)) for k, v in (tags or {}).items()]):
            self.client.log_batch(self.id, tags=marks)


def _batches(entries: list[T]) -> Iterator[list[T]]:
    """Cut entries into parts that fit into one call of MLflow."""
    for start in range(0, len(entries), BATCH):
        yield entries[start : start + BATCH]


def points(metrics: dict[str, Any], step: int, **of_model: str) -> list[Metric]:
    """Make MLflow metrics of the numbers among the values.

    MLflow allows no @ in names: ndcg@20 becomes ndcg_at_20.
    """
    now = int(time.time() * 1000)
    return [
        Metric(re.sub(r"[^\w\-. :/]", "_", k.replace("@", "_at_")), float(v), now, step, **of_model)
        for k, v in metrics.items()
        if isinstance(v, (int, float))
    ]


def describe(tags: dict[str, str], experiment: str) -> str:
    """Write a stage run's description in Markdown.

    It has the command, the commit, the hashes, and links to the runs before and after it.
    """

    def links(tag: str) -> str:
        found = [
            f"[{stage}](#/experiments/{experiment}/runs/{run_id})"
            for run_id, stage in json.loads(tags.get(tag, "[]"))
        ]
        return ", ".join(found) or "none known"

    def hashes(prefix: str) -> str:
        found = {k.removeprefix(prefix): v for k, v in tags.items() if k.startswith(prefix)}
        data = {k: v for k, v in found.items() if is_data(k) or prefix == "dvc.out."}
        return (
            "".join(f"\n- `{path}` {digest[:12]}" for path, digest in sorted(data.items()))
            or "\n- none"
        )

    dirty = ", **with changes that were not committed**" if tags.get("git.dirty") == "true" else ""
    parts = [
        f"`{tags['cmd']}` at commit `{tags.get('git.commit', '')[:12] or 'unknown'}`{dirty}.",
        f"**Made from** {links('made_from')}",
        f"**Used by** {links('used_by')}",
        f"**Inputs** (md5){hashes('dvc.in.')}",
    ]
    if any(k.startswith("dvc.out.") for k in tags):
        parts.append(f"**Outputs** (md5){hashes('dvc.out.')}")
    # MLflow's limit is 8000
    return "\n\n".join(parts)[:7900]


def experiment_id(client: MlflowClient, name: str = EXPERIMENT) -> str:
    """Return an experiment's id. The experiment is made at the first use."""
    found = client.get_experiment_by_name(name)
    if found:
        return found.experiment_id
    # the default location would depend on the folder of the first use
    local = None if tracking_address().startswith("http") else (HOME / "mlartifacts").as_uri()
    return client.create_experiment(name, artifact_location=local)


def _pipeline_run(
    client: MlflowClient, experiment: str, exp: str | None, code: dict[str, str]
) -> str:
    """Find or make the run of this call of an engine, and mark it as running. Returns its id."""
    call = Invocation.current()
    for found in search(client, experiment, f"tags.`pipeline.id` = '{call.id}'"):
        if found.info.status != "RUNNING":
            client.update_run(found.info.run_id, status="RUNNING")
        return found.info.run_id
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(call.started))
    tags = {"pipeline.id": call.id, "cmd": call.command, **code, **_origin(call.command, code, exp)}
    tags[NOTE] = f"`{call.command}`" + (f", experiment `{exp}`" if exp else "")
    name = f"{call.command.split(' ')[0]} {when}" + (f" {exp}" if exp else "")
    return client.create_run(experiment, int(call.started * 1000), tags, name).info.run_id


def _settle(client: MlflowClient, experiment: str, pipeline_run: str) -> None:
    """Update the summary of a pipeline run, and end the run when none of its stages is running.

    No engine reports its end. The status is the worst among the latest runs of the stages.
    """
    latest: dict[str, MlflowRun] = {}
    for run in search(client, experiment, f"tags.`{PARENT}` = '{pipeline_run}'"):
        latest.setdefault(run.data.tags["stage"], run)
    states = [run.info.status for run in latest.values()]
    done = [run.data.metrics for run in latest.values() if run.info.status == "FINISHED"]
    summary = {
        "stages": len(done),
        "stages_failed": sum(state in ("FAILED", "KILLED") for state in states),
        "stage_seconds": sum(m.get("seconds", 0) for m in done),
        "peak_memory_bytes": max((m.get("peak_memory_bytes", 0) for m in done), default=0),
    }
    client.log_batch(pipeline_run, metrics=points(summary, step=len(states)))
    if "RUNNING" not in states:
        client.set_terminated(
            pipeline_run, next((s for s in ("KILLED", "FAILED") if s in states), "FINISHED")
        )


def sweep(client: MlflowClient) -> None:
    """Close the runs whose runner was killed.

    A killed runner leaves its file in RUNS without a lock.
    """
    for path in RUNS.glob("*"):
        with suppress(BlockingIOError, FileNotFoundError), path.open() as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # the run, or the database, may be gone
            with suppress(MlflowException):
                run = client.get_run(path.name)
                if run.info.status == "RUNNING":
                    client.set_tag(path.name, "error", "killed")
                    client.set_terminated(path.name, "KILLED")
                if parent := run.data.tags.get(PARENT):
                    _settle(client, run.info.experiment_id, parent)
            path.unlink()


def tidy() -> None:
    """Close the runs of killed stages, and update the alias `best`.

    Results that came from DVC's cache have made no run that could have updated it.
    """
    from pipeline.engine.snapshot import current_model_values

    if DATABASE.exists() or os.environ.get("MLFLOW_TRACKING_URI"):
        with locked(LOCK):
            client = open_client()
            sweep(client)
            models.set_best(client, current_model_values())


def serve_ui(port: int) -> None:
    """Open MLflow's UI on this machine alone. This process becomes its server.

    When MLFLOW_TRACKING_URI names a server, its address is printed instead.
    """
    tidy()
    address = tracking_address()
    if address.startswith("http"):
        print(f"The runs are kept at {address}")
        return
    os.execv(  # noqa: S606
        sys.executable,
        [
            sys.executable,
            "-m",
            "mlflow",
            "ui",
            "--backend-store-uri",
            address,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ],
    )


def commit() -> dict[str, str]:
    """Return the commit, and whether files other than results differ from it."""

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "--no-optional-locks", *args], capture_output=True, text=True
        ).stdout.strip()

    changed = git(
        "status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!data"
    )
    return {
        "git.commit": git("rev-parse", "--verify", "-q", "HEAD"),
        "git.dirty": str(bool(changed)).lower(),
    }


def _origin(cmd: str, code: dict[str, str], exp: str | None) -> dict[str, str]:
    """Return the tags that MLflow's UI shows as user, source and version.

    exp: name of DVC's experiment, if there is one.
    """
    shown = {
        "user": user(),
        "source.name": cmd,
        "source.type": "LOCAL",
        "source.git.commit": code["git.commit"],
    }
    return {f"mlflow.{k}": v for k, v in shown.items()} | ({"dvc.exp": exp} if exp else {})


def _archives(folder: Path) -> list[Dataset]:
    """Describe the raw files of the stage `download`.

    The sha256 is cut to the 36 characters that MLflow allows.
    """
    files = json.loads((folder / "source.json").read_text(encoding="utf-8"))["files"]
    return [
        Dataset(
            name=name,
            digest=about["sha256"][:36],
            source_type="http",
            source=json.dumps({"url": about["address"]}),
        )
        for name, about in files.items()
    ]


def _flat(value: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", inner
