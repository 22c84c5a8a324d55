"""Log a study to MLflow: one run for the study, and below it one run for each trial.

The study's own file is authoritative; MLflow shows a copy.
"""

from __future__ import annotations

import sys

from glta.tuning.study import Trial, best_of
from pipeline.tracking.commit import current_commit
from pipeline.tracking.records import (
    NOTE,
    PARENT,
    RUNS,
    experiment_id,
    points,
    search,
    sweep,
)
from pipeline.tracking.store import LOCK, explain, locked, open_client

EXPERIMENT = "glta-tune"
METRIC = "valid/ndcg@20"


class StudyLog:
    """Log the runs of a study.

    name: how it is shown. about: its parameters; "study" is its unique key.
    """

    def __init__(self, name: str, about: dict[str, object]):
        self._name, self._about = name, about
        self._problem = ""

    def __enter__(self) -> StudyLog:
        # without the lock, two first uses at once would break the database's migration
        with locked(LOCK):
            self._client = open_client()
            self._experiment = experiment_id(self._client, EXPERIMENT)
            sweep(self._client)
            found = next(
                search(self._client, self._experiment, f"tags.study = '{self._about['study']}'"),
                None,
            )
            if found:
                self._client.update_run(found.info.run_id, status="RUNNING")
            else:
                code = current_commit().tags
                note = (
                    f"`glta tune {self._about['method']} {self._about['dataset']} --seed "
                    f"{self._about['seed']}`"
                )
                tags = {
                    "study": self._about["study"],
                    NOTE: note,
                    "mlflow.source.git.commit": code["git.commit"],
                    **code,
                }
                found = self._client.create_run(self._experiment, run_name=self._name, tags=tags)
                for key, value in self._about.items():
                    self._client.log_param(found.info.run_id, key, value)
            self._id = found.info.run_id
            self._alive = locked(RUNS / self._id)
            self._alive.__enter__()
        self._logged = set()
        for run in search(self._client, self._experiment, f"tags.`{PARENT}` = '{self._id}'"):
            # a kill left this run without its values
            if run.info.status == "RUNNING":
                self._client.delete_run(run.info.run_id)
            else:
                self._logged.add(int(run.data.tags["trial"]))
        return self

    def update(self, done: list[Trial]) -> None:
        """Log the trials that MLflow does not have yet.

        These may come from an earlier run, or from before the database was lost. When the store
        fails, the study goes on, and its next run logs what is missing.
        """
        if self._problem:
            return
        try:
            for count, trial in enumerate(done, 1):
                if trial.number not in self._logged:
                    self._log(trial, done[:count])
                    self._logged.add(trial.number)
        # of MLflow, SQLAlchemy, SQLite, the network or the disk
        except Exception as error:
            self._problem = explain(error)
            print(
                f"{self._name}: MLflow does not get the trials: {self._problem}. The study keeps "
                "them, and its next run logs them",
                file=sys.stderr,
            )

    def _log(self, trial: Trial, so_far: list[Trial]) -> None:
        started = int(trial.started.timestamp() * 1000)
        tags = {PARENT: self._id, "trial": str(trial.number)} | (
            {"error": trial.error} if trial.error else {}
        )
        run = self._client.create_run(
            self._experiment, started, tags, f"{self._name} {trial.number}"
        ).info.run_id
        for key, value in trial.values.items():
            self._client.log_param(run, key, value)
        measured = {} if trial.value is None else {METRIC: trial.value}
        self._client.log_batch(run, metrics=points(measured | {"seconds": trial.seconds}, 0))
        best = best_of(so_far)
        summary = {"trials": len(so_far), "seconds": sum(t.seconds for t in so_far)} | (
            {METRIC: best.value} if best else {}
        )
        self._client.log_batch(self._id, metrics=points(summary, len(so_far)))
        self._client.set_terminated(
            run, "FAILED" if trial.error else "FINISHED", started + int(trial.seconds * 1000)
        )

    def __exit__(self, kind, *_) -> None:
        # an open run is closed by the next stage or study
        if self._problem:
            return
        with locked(LOCK):
            self._client.set_terminated(self._id, "KILLED" if kind else "FINISHED")
            (RUNS / self._id).unlink()
            self._alive.__exit__(None, None, None)
