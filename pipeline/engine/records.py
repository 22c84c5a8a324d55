"""One MLflow run for every executed stage. Nothing else in the project writes to MLflow."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from pipeline.engine.snapshot import Snapshot

logging.getLogger("mlflow").setLevel(logging.WARNING)

# the main checkout, also from the copy of it that `dvc exp run --temp` or `--queue` works in
HOME = Path(str(Path.cwd()).split("/.dvc/tmp/exps/")[0])
DATABASE = HOME / "mlflow.db"
EXPERIMENT = "glta"
RUNS = HOME / ".pipe/runs"  # one file per running stage, locked while its runner lives
BATCH = 100  # entries of one call, MLflow's limit for parameters and tags


def open_client() -> MlflowClient:
    """Connect to the user's MLFLOW_TRACKING_URI, or to mlflow.db."""
    return MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DATABASE}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock; the kernel lets go if this process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


class Run:
    """Record one stage while it runs."""

    def __init__(self, stage: str, cmd: list[str], before: Snapshot):
        self._lines = 0
        with locked(HOME / ".pipe/mlflow.lock"):  # two first uses at once break the database's migration
            self.client = open_client()
            experiment = self.client.get_experiment_by_name(EXPERIMENT)
            where = (
                experiment.experiment_id
                if experiment
                else self.client.create_experiment(EXPERIMENT, artifact_location=(HOME / "mlartifacts").as_uri())
            )
            _sweep(self.client)
            self.id = self.client.create_run(where, run_name=stage, tags={"stage": stage}).info.run_id
            self._alive = locked(RUNS / self.id)
            self._alive.__enter__()
        tags = {"cmd": " ".join(cmd), **_commit(), "dvc.exp": os.environ.get("DVC_EXP_NAME", "")}
        self._log(
            params=before.effective_params, tags=tags | {f"dvc.in.{path}": digest for path, digest in before.deps.items()}
        )
        sources = [
            Dataset(name=path, digest=digest[:36], source_type="local", source=json.dumps({"uri": path}))
            for path, digest in before.deps.items()
            if path.startswith("data/")
        ]
        if sources:
            self.client.log_inputs(self.id, [DatasetInput(s, [InputTag("mlflow.data.context", stage)]) for s in sources])

    def log_epochs(self, path: Path) -> None:
        """Log the whole lines that the script has appended to its records since the last call."""
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()[self._lines :]
        self._lines += len(lines)
        for values in map(json.loads, lines):
            step = int(values.pop("step"))
            self._log(metrics=values, step=step)

    def log_results(self, after: Snapshot, costs: dict[str, float]) -> None:
        """Log what the stage wrote: hashes of the outputs, values of metric files, and with `meta.artifacts` the files."""
        self._log(tags={f"dvc.out.{path}": digest for path, digest in after.outs.items()}, metrics=costs)
        for path in after.metrics:
            self._log(metrics=dict(_flat(json.loads(Path(path).read_text(encoding="utf-8")))))
        for path in map(Path, after.outs if after.meta.get("artifacts") else ()):
            if path.is_dir():
                self.client.log_artifacts(self.id, str(path), path.name)
            else:
                self.client.log_artifact(self.id, str(path))

    def close(self, error: str) -> None:
        """End the run as FINISHED, or with an error as FAILED."""
        if error:
            self.client.set_tag(self.id, "error", error)
        self.client.set_terminated(self.id, "FAILED" if error else "FINISHED")
        (RUNS / self.id).unlink()
        self._alive.__exit__(None, None, None)

    def _log(self, params: dict[str, Any] | None = None, tags: dict | None = None, metrics: dict | None = None, step: int = 0):
        now = int(time.time() * 1000)
        # MLflow's names have no @: ndcg@20 is shown as ndcg_at_20
        points = [
            Metric(re.sub(r"[^\w\-. :/]", "_", k.replace("@", "_at_")), float(v), now, step)
            for k, v in (metrics or {}).items()
            if isinstance(v, (int, float))
        ]
        entities = {
            "metrics": points,
            "params": [Param(k, str(v)) for k, v in (params or {}).items()],
            "tags": [RunTag(k, str(v)) for k, v in (tags or {}).items()],
        }
        for kind, entries in entities.items():
            for start in range(0, len(entries), BATCH):
                self.client.log_batch(self.id, **{kind: entries[start : start + BATCH]})


def _commit() -> dict[str, str]:
    """Name the commit, and whether files other than results differ from it."""

    def git(*args: str) -> str:
        return subprocess.run(["git", "--no-optional-locks", *args], capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!data")
    return {"git.commit": git("rev-parse", "HEAD"), "git.dirty": str(bool(changed)).lower()}


def _sweep(client: MlflowClient) -> None:
    """Close the runs whose runner was killed: its file in RUNS is left, the lock on it is not."""
    for path in RUNS.glob("*"):
        with suppress(BlockingIOError, FileNotFoundError), path.open() as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(MlflowException):  # the run, or the database, may be gone
                if client.get_run(path.name).info.status == "RUNNING":
                    client.set_terminated(path.name, "KILLED")
            path.unlink()


def _flat(value: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", inner
