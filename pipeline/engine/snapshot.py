"""Describe a stage at this moment: hashes of inputs and outputs, values of parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.engine.code import is_values, values_of
from pipeline.engine.oracle import dvc_stages, overlap


class ModelValue(NamedTuple):
    """Hold the validation value of a current model.

    `meta.measures` of dvc.yaml names the model and the metric. The value comes from the stage's
    metric file.
    """

    # name of the registered model: the dataset
    registered: str
    method: str
    seed: int
    metric: str
    value: float
    # of the model
    path: str
    digest: str


class Snapshot(NamedTuple):
    """Hold the state of a stage.

    deps: {path: hash}; for a directory above other stages' outputs, the hashes of those too.
    params: {dotted name: value}, from the files in data/params that the stage depends on, and from
    parameter files that dvc.yaml names. outs: {path: hash}, empty while the
    stage has not run. metrics: the outputs that are metrics (`metric_files`).
    """

    deps: dict[str, str]
    params: dict[str, Any]
    outs: dict[str, str]
    metrics: list[str]
    meta: dict

    @property
    def inputs(self) -> dict[str, Any]:
        """Return everything that the result depends on."""
        return self.deps | self.params

    @property
    def effective_params(self) -> dict[str, Any]:
        """Return the parameters with the dataset's overrides merged in."""
        return effective(self.params)


def effective(params: dict[str, Any]) -> dict[str, Any]:
    """Merge overrides.DATASET.X into X. params: {dotted name: value}."""
    own = {k: v for k, v in params.items() if not k.startswith("overrides.")}
    return own | {
        k.split(".", 2)[2]: v for k, v in params.items() if k.startswith("overrides.") and v != {}
    }


class Workspace:
    """One stage of the workspace, as dvc.yaml described it when the stage began."""

    def __init__(self, repo, stages: list, name: str):
        from dvc.dependency import ParamsDependency

        self._repo = repo
        self._stages = stages
        self._stage = next(s for s in stages if s.name == name)
        self._params = [d for d in self._stage.deps if isinstance(d, ParamsDependency)]
        self._deps = [d for d in self._stage.deps if not isinstance(d, ParamsDependency)]
        self._made = [o for s in stages for o in s.outs]
        self._above = [
            d
            for d in self._deps
            if any(o.def_path.startswith(f"{d.def_path}/") for o in self._made)
        ]

    def snapshot(self, outputs: bool) -> Snapshot:
        """Hash the dependencies, and with `outputs` the outputs too.

        The hashes come from DVC's cache of hashes.
        """
        from dvc.utils.flatten import flatten

        within = [
            o
            for o in self._made
            for d in self._above
            if o.def_path.startswith(f"{d.def_path}/") and o.exists
        ]
        return Snapshot(
            deps={d.def_path: d.get_hash().value for d in [*self._deps, *within]},
            params=self._values()
            | {key: value for d in self._params for key, value in flatten(d.read_params()).items()},
            outs={o.def_path: o.get_hash().value for o in self._stage.outs} if outputs else {},
            metrics=metric_files(self._stage),
            meta=self._stage.meta or {},
        )

    def _values(self) -> dict[str, Any]:
        files = [Path(d.def_path) for d in self._deps if is_values(d.def_path)]
        contents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        return {key: value for each in contents for key, value in values_of(each).items()}

    def model_values(self) -> list[ModelValue]:
        """Read the validation values of all current models."""
        return model_values(self._stages)

    def prune(self) -> list[str]:
        """Remove files of removed matrix entries from a directory that this stage depends on.

        Such a directory lies above the outputs of other stages, and its hash covers every file in
        it. A file is removed only when no stage makes it and DVC's cache has it. So nothing is
        lost, and files that a user put there stay. Returns the removed paths.
        """
        removed = []
        for top in (Path(d.def_path) for d in self._above):
            for path in sorted(p for p in top.rglob("*") if p.is_file()):
                made = any(overlap(path.as_posix(), o.def_path) for o in self._made)
                if not made and self._repo.cache.local.exists(_md5(path)):
                    path.unlink()
                    removed.append(path.as_posix())
                    for parent in path.parents:
                        if parent == top or any(parent.iterdir()):
                            break
                        parent.rmdir()
        return removed


@contextmanager
def open_workspace(name: str) -> Iterator[Workspace]:
    """Read dvc.yaml and find a stage by name."""
    with dvc_stages() as (repo, stages):
        yield Workspace(repo, stages, name)


def model_values(stages: list) -> list[ModelValue]:
    """Read the validation values of the models of all stages with `meta.measures` that have run."""
    found = []
    for stage in stages:
        measures = (stage.meta or {}).get("measures")
        metrics = [Path(path) for path in metric_files(stage)]
        model = next((d for d in stage.deps if measures and d.def_path == measures["model"]), None)
        if measures and model and model.exists and all(path.is_file() for path in metrics):
            try:
                values = {
                    k: v
                    for path in metrics
                    for k, v in json.loads(path.read_text(encoding="utf-8")).items()
                }
                current = model.get_hash().value
            except (FileNotFoundError, model.DoesNotExistError):
                # another stage is just replacing the model; its evaluation will read it again
                continue
            found.append(
                ModelValue(
                    registered=measures["dataset_name"],
                    method=measures["method"],
                    seed=int(measures["seed"]),
                    metric=measures["metric"],
                    value=values[measures["metric"]],
                    path=measures["model"],
                    digest=current,
                )
            )
    return found


def metric_files(stage) -> list[str]:
    """Return the outputs of a stage with metrics for MLflow.

    They are those that dvc.yaml calls metrics, and that of `meta.metrics`. DVC shows the first ones
    alone: the metrics of all evaluations are too many for its tables.
    """
    named = (stage.meta or {}).get("metrics")
    return [o.def_path for o in stage.outs if o.metric or o.def_path == named]


def current_model_values() -> list[ModelValue]:
    """Read the validation values of all current models of this checkout."""
    with dvc_stages() as (_, stages):
        return model_values(stages)


def _md5(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
