"""Record one MLflow run for every executed stage, below one run for every call of an engine.

Except for the studies of `glta tune`, nothing else writes to MLflow.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from pipeline.engine.code import is_data
from pipeline.engine.invocation import VARIABLE, user
from pipeline.engine.snapshot import ModelValue, current_model_values
from pipeline.tracking import models
from pipeline.tracking.commit import NO_COMMIT
from pipeline.tracking.environment import environment_of, in_short
from pipeline.tracking.execution import Execution, saved
from pipeline.tracking.store import (
    ARTIFACTS,
    EXPERIMENT,
    HOME,
    LOCK,
    explain,
    is_server,
    local_place,
    locked,
    make_portable,
    open_client,
    refuse_deleted,
    store_exists,
    tracking_address,
)

T = TypeVar("T")

# one file for each running stage, locked while its runner lives
RUNS = HOME / ".pipe/runs"
# executions whose results are there and whose runs could not be written yet
UNRECORDED = HOME / ".pipe/unrecorded"
# MLflow's limit for the parameters and tags of one call
BATCH = 100
# MLflow's limit for the text of a tag is 8000
TAG_LENGTH = 5000
# hashes of a stage's inputs, one JSON text, cut into as many tags as it needs
INPUTS = "dvc.in"
OUTPUTS = "dvc.out."
# chooses, in an address, the pages for machine learning and not those for language-model
# applications, which MLflow shows first
ML_VIEW = "?workflowType=machine_learning"
# tags that MLflow's UI reads
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
# a run's description names the newest runs that used its outputs, this many at most
MOST_USERS = 50


def search(client: MlflowClient, experiment: str, filter_string: str) -> Iterator[MlflowRun]:
    """Yield all runs that match a filter of MLflow, newest first."""
    token = None
    while token != "":
        page = client.search_runs([experiment], filter_string, page_token=token)
        yield from page
        token = page.token or ""


def input_tags(deps: dict[str, str]) -> dict[str, str]:
    """Write the hashes of a stage's inputs as tags."""
    text = json.dumps(deps)
    parts = [text[start : start + TAG_LENGTH] for start in range(0, len(text), TAG_LENGTH)]
    return {f"{INPUTS}.{n}" if n else INPUTS: part for n, part in enumerate(parts)}


def inputs_of(tags: dict[str, str]) -> dict[str, str]:
    """Read the hashes of a stage's inputs, {path: hash}, from the tags of its run."""
    if INPUTS not in tags:
        # earlier versions wrote one tag for each input
        return {k.removeprefix("dvc.in."): v for k, v in tags.items() if k.startswith("dvc.in.")}
    parts = [tags[INPUTS]]
    while more := tags.get(f"{INPUTS}.{len(parts)}"):
        parts.append(more)
    return json.loads("".join(parts))


def outputs_of(tags: dict[str, str]) -> dict[str, str]:
    """Read the hashes of a stage's outputs, {path: hash}, from the tags of its run."""
    return {k.removeprefix(OUTPUTS): v for k, v in tags.items() if k.startswith(OUTPUTS)}


class Run:
    """Record one execution of a stage, while it runs or afterwards."""

    def __init__(self, execution: Execution):
        self._execution = execution
        # {path: id of the LoggedModel}
        self._dependent_models: dict[str, str] = {}
        cmd = execution.tags["cmd"]
        # without the lock, two first uses at once would break the database's migration
        with locked(LOCK):
            self.client = open_client()
            self._experiment = experiment_id(self.client)
            sweep(self.client)
            self._parent = _pipeline_run(self.client, self._experiment, execution)
            tags = execution.tags | _origin(cmd, execution) | {PARENT: self._parent}
            self.id = self.client.create_run(
                self._experiment, execution.started, tags, execution.stage
            ).info.run_id
            self._alive = locked(RUNS / self.id)
            self._alive.__enter__()

    def log_inputs(self) -> None:
        """Log the parameters, the hashes of the dependencies, and the runs that made them.

        Dependencies that are models or datasets are logged as such too.
        """
        deps = self._execution.deps
        with locked(LOCK):
            self._log(params=self._execution.params, tags=input_tags(deps))
            self._link()
        sources = [
            Dataset(
                name=path, digest=digest[:36], source_type="local", source=json.dumps({"uri": path})
            )
            for path, digest in deps.items()
            if is_data(path) and path not in self._dependent_models
        ]
        self._log_inputs(sources)

    def log_epochs(self, epochs: Iterable[dict[str, Any]]) -> None:
        """Log records of the script. Its error message is no metric."""
        for values in epochs:
            if "error" not in values:
                numbers = {k: v for k, v in values.items() if k != "step"}
                self._log(metrics=numbers, step=int(values["step"]))

    def log_results(self, model_values: list[ModelValue]) -> None:
        """Log what the stage wrote: hashes of the outputs, metrics, and archives as datasets.

        With `meta.model` the output is logged as a LoggedModel. With `meta.measures` the metrics
        belong to another stage's model. With `meta.artifacts` the files themselves are logged.

        model_values: of all current models.
        """
        done = self._execution
        self._log(tags={f"{OUTPUTS}{path}": digest for path, digest in done.outs.items()})
        measures: dict[str, Any] = done.meta.get("measures") or {}
        model_id = self._dependent_models.get(measures["model"]) if measures else None
        of_model = self._measured_on(model_id, measures) if model_id else {}
        # MLflow shows metrics in the order in which they come
        for content in done.values.values():
            values = main_first(dict(_flat(content)), measures.get("metric", ""))
            self._log(metrics=values, of_model=of_model)
        self._log(metrics=done.costs)
        if done.meta.get("artifacts"):
            self._log_files(map(Path, done.outs))
            self._log_headline()
        folders = [path for path in map(Path, done.outs) if (path / "source.json").is_file()]
        self._log_inputs([archive for folder in folders for archive in _archives(folder)])
        if model := done.meta.get("model"):
            made = models.log_model(
                self.client,
                self._experiment,
                self.id,
                path=model,
                digest=done.outs[model],
                params=done.params,
                tags=done.code | done.subject,
            )
            self.client.set_tag(self.id, "model.id", made)
        with locked(LOCK):
            if model_id:
                maker = self.client.get_logged_model(model_id).source_run_id
                for measured in model_values:
                    # a record that was written late may be of an earlier model
                    if (measured.path, measured.digest) == (
                        measures["model"],
                        done.deps[measures["model"]],
                    ):
                        models.register(self.client, measured, model_id, maker)
                # an experiment must not replace the checkout's own results
                if Path.cwd() == HOME:
                    models.set_best(self.client, model_values)
            self._describe(self.id)

    def _log_headline(self) -> None:
        """Show the main numbers of the report at the pipeline run."""
        metric = self._execution.params.get("report.metric")
        for content in self._execution.values.values():
            self.client.log_batch(self._parent, metrics=points(headline(content, metric), 0))

    def _log_files(self, paths: Iterable[Path]) -> None:
        """Copy files to MLflow. They are results already, so a failure takes nothing away."""
        place = local_place(self.client.get_run(self.id).info.artifact_uri)
        try:
            for path in paths:
                if path.is_dir():
                    self._copy_folder(place, path)
                elif place:
                    models.copy_file(path, place)
                else:
                    self.client.log_artifact(self.id, str(path))
        except (OSError, MlflowException) as error:
            print(
                f"{self._execution.stage}: MLflow has no copy of {path}, as its place cannot be "
                f"written: {explain(error)}; the result is kept",
                file=sys.stderr,
            )

    def _copy_folder(self, place: Path | None, path: Path) -> None:
        if place is None:
            self.client.log_artifacts(self.id, str(path), path.name)
            return
        for each in path.rglob("*"):
            if each.is_file():
                models.copy_file(each, place / each.relative_to(path.parent).parent)

    def close(self, error: str) -> None:
        """End the run as FINISHED, or as FAILED when error is not empty."""
        if error:
            said = self._execution.error
            self.client.set_tag(self.id, "error", f"{error}: {said}" if said else error)
        with locked(LOCK):
            ended = self._execution.ended or None
            self.client.set_terminated(self.id, "FAILED" if error else "FINISHED", ended)
            (RUNS / self.id).unlink(missing_ok=True)
            self._alive.__exit__(None, None, None)
            _settle(self.client, self._experiment, self._parent)

    def _link(self) -> None:
        """Find the runs that made the inputs, by hash, and link both sides."""
        deps = self._execution.deps
        todo = {path: digest for path, digest in deps.items() if is_data(path)}
        makers: dict[str, list[str]] = {}
        for path in list(todo):
            if path not in todo or not todo[path]:
                continue
            found = self.client.search_runs(
                [self._experiment],
                f"tags.`{OUTPUTS}{path}` = '{todo[path]}' and attributes.status = 'FINISHED'",
                max_results=1,
            )
            for maker in found:
                made = outputs_of(maker.data.tags)
                outs = {p for p in todo if made.get(p) == todo[p]}
                makers |= {p: [maker.info.run_id, maker.data.tags["stage"]] for p in outs}
                self._dependent_models |= {
                    p: maker.data.tags["model.id"] for p in outs if "model.id" in maker.data.tags
                }
                users = json.loads(maker.data.tags.get("used_by", "[]"))
                self.client.set_tag(
                    maker.info.run_id,
                    "used_by",
                    json.dumps([*users, [self.id, self._execution.stage]][-MOST_USERS:]),
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
        deps = self._execution.deps
        return {"model_id": model_id} | (
            {"dataset_name": data, "dataset_digest": deps[data][:36]} if data in deps else {}
        )

    def _log_inputs(self, datasets: list[Dataset]) -> None:
        if datasets:
            context = [InputTag("mlflow.data.context", self._execution.stage)]
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


class Recorder:
    """Record an execution while it runs, and keep its record when the store fails meanwhile.

    A store that fails at the start ends the stage before any work. Later, the result wins: what
    could not be recorded waits in a file, and the next stage, `glta ui` or `glta lineage` writes
    it.
    """

    def __init__(self, execution: Execution):
        """Open the run. Raises any error of the store."""
        write_unrecorded()
        self._execution = execution
        self._problem = ""
        self._run = Run(execution)
        execution.run = self._run.id
        self._run.log_inputs()

    def epochs(self, path: Path) -> None:
        """Log the new lines of the script's records."""
        new = self._execution.read_epochs(path)
        self._attempt(lambda: self._run.log_epochs(new))

    def succeed(self, model_values: list[ModelValue]) -> None:
        """Log the results and end the run."""
        self._attempt(lambda: self._run.log_results(model_values))
        self._attempt(lambda: self._run.close(""))
        if not self._problem:
            return
        stage = self._execution.stage
        try:
            path = self._execution.save(UNRECORDED)
            what = (
                f"The record waits in {path.relative_to(HOME)}; the next stage, `glta ui` or "
                "`glta lineage check` writes it"
            )
        except OSError as error:
            what = (
                f"The record is lost, as no file can be written either ({error.strerror}); make "
                f"room, then `snakemake --cores 1 -R {stage}` makes result and run again"
            )
        print(
            f"{stage}: the result is kept, but its run could not be recorded: {self._problem}. "
            f"{what}",
            file=sys.stderr,
        )

    def fail(self, error: str) -> None:
        """End the run as FAILED."""
        self._attempt(lambda: self._run.close(error))

    def _attempt(self, call) -> None:
        """Call, unless the store has failed before; remember why it fails."""
        if self._problem:
            return
        try:
            call()
        # of MLflow, SQLAlchemy, SQLite, the network or the disk
        except Exception as error:
            self._problem = explain(error)


def write_unrecorded() -> None:
    """Write the runs of executions that could not be recorded before. What fails stays."""
    if not any(saved(UNRECORDED)):
        return
    with locked(UNRECORDED / "lock"):
        for path in saved(UNRECORDED):
            try:
                execution = Execution.load(path)
                run = Run(execution)
                run.log_inputs()
                run.log_epochs(execution.epochs)
                run.log_results(current_model_values())
                # the part of the record that was written before the store failed
                with suppress(MlflowException):
                    if execution.run:
                        run.client.delete_run(execution.run)
                run.close("")
                path.unlink()
                print(f"{execution.stage}: its run is recorded now", file=sys.stderr)
            except Exception as error:
                print(f"{path.relative_to(HOME)}: still waits: {explain(error)}", file=sys.stderr)
                return


def main_first(values: dict[str, Any], metric: str) -> dict[str, Any]:
    """Put the metric that decides, on test and on validation, before all others.

    metric: that on validation, valid/NAME.
    """
    main = [name for name in (metric.removeprefix("valid/"), metric) if name in values]
    return {name: values[name] for name in main} | values


def headline(content: dict[str, Any], metric: str | None) -> dict[str, float]:
    """Find the report's metric for each dataset and method, as a mean over the seeds.

    content: of metrics.json, with nested keys. Returns {METRIC/DATASET/METHOD: value}.
    """
    found: dict[str, list[float]] = defaultdict(list)

    def visit(inner: dict[str, Any], path: list[str]) -> None:
        for key, value in inner.items():
            if isinstance(value, dict):
                visit(value, [*path, key])
            elif key == metric and isinstance(value, (int, float)):
                place = path[:-1] if path and path[-1].isdigit() else path
                found["/".join([key, *place])].append(value)

    visit(content, [])
    return {name: sum(values) / len(values) for name, values in found.items()}


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

    It has the command, the commit, the environment, links to the runs before and after it, and the
    hashes.
    """

    def links(tag: str) -> str:
        found = [
            f"[{stage}](#/experiments/{experiment}/runs/{run_id}{ML_VIEW})"
            for run_id, stage in json.loads(tags.get(tag, "[]"))
        ]
        return ", ".join(found) or "none known"

    def hashes(found: dict[str, str]) -> str:
        return (
            "".join(f"\n- `{path}` {digest[:12]}" for path, digest in sorted(found.items()))
            or "\n- none"
        )

    parts = [
        f"`{tags['cmd']}` at commit {commit_in_words(tags)}.",
        f"**Made from** {links('made_from')}",
        f"**Used by** {links('used_by')}",
    ]
    if environment := environment_of(tags):
        parts.append(f"**Computed with** {in_short(environment)}")
    data = {path: digest for path, digest in inputs_of(tags).items() if is_data(path)}
    parts.append(f"**Inputs** (md5){hashes(data)}")
    if made := outputs_of(tags):
        parts.append(f"**Outputs** (md5){hashes(made)}")
    # MLflow's limit is 8000
    return "\n\n".join(parts)[:7900]


def commit_in_words(tags: dict[str, str]) -> str:
    """Say which commit a run was made from, in Markdown, and what is not known of it."""
    problem = f" ({tags['git.problem']})" if "git.problem" in tags else ""
    shown = f"`{tags.get('git.commit', '')[:12] or 'unknown'}`{problem}"
    dirty = tags.get("git.dirty")
    if dirty == "true":
        return f"{shown}, **with changes that were not committed**"
    return f"{shown}, **perhaps with changes**" if dirty == "unknown" else shown


def experiment_id(client: MlflowClient, name: str = EXPERIMENT) -> str:
    """Return an experiment's id. The experiment is made at the first use.

    Raises ValueError when it was deleted.
    """
    found = client.get_experiment_by_name(name)
    if found:
        refuse_deleted(found.experiment_id, found.lifecycle_stage, name)
        made = found.experiment_id
    else:
        # the default location would depend on the folder of the first use
        local = None if is_server(tracking_address()) else (HOME / ARTIFACTS).as_uri()
        made = client.create_experiment(name, artifact_location=local)
    make_portable()
    return made


def _pipeline_run(client: MlflowClient, experiment: str, execution: Execution) -> str:
    """Find or make the run of a stage's call of an engine, and mark it as running. Returns its id.

    It has the parameters that say what the call was to make.
    """
    call = execution.invocation
    for found in search(client, experiment, f"tags.`pipeline.id` = '{call.id}'"):
        if found.info.status != "RUNNING":
            client.update_run(found.info.run_id, status="RUNNING")
        return found.info.run_id
    exp = execution.experiment
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(call.started))
    tags = {"pipeline.id": call.id, "cmd": call.command, **execution.code}
    tags |= _origin(call.command, execution)
    tags[NOTE] = f"`{call.command}`" + (f", experiment `{exp}`" if exp else "")
    tags[NOTE] += f" at commit {commit_in_words(execution.code)}"
    words = {name: ", ".join(map(str, values)) for name, values in execution.asked.items()}
    # the same names as the tags of stages, so that one filter finds both
    tags |= {name.removesuffix("s"): text[:TAG_LENGTH] for name, text in words.items()}
    name = f"{call.command.split(' ')[0]} {when}" + (f" {exp}" if exp else "")
    made = client.create_run(experiment, int(call.started * 1000), tags, name).info.run_id
    client.log_batch(made, params=[Param(key, text[:TAG_LENGTH]) for key, text in words.items()])
    # Snakemake says so itself, when it starts
    if VARIABLE not in os.environ and (problem := execution.code.get("git.problem")):
        print(f"{NO_COMMIT}: {problem}", file=sys.stderr, flush=True)
    return made


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
    """Close the runs of killed stages, write what waits, and update the alias `best`.

    Results that came from DVC's cache have made no run that could have updated it.
    """
    write_unrecorded()
    if store_exists():
        with locked(LOCK):
            client = open_client()
            experiment_id(client)
            sweep(client)
            models.set_best(client, current_model_values())


def _origin(cmd: str, execution: Execution) -> dict[str, str]:
    """Return the tags that MLflow's UI shows as user, source and version."""
    shown = {
        "user": user(),
        "source.name": cmd,
        "source.type": "LOCAL",
        "source.git.commit": execution.code["git.commit"],
    }
    exp = {"dvc.exp": execution.experiment} if execution.experiment else {}
    return {f"mlflow.{k}": v for k, v in shown.items() if v} | exp


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
