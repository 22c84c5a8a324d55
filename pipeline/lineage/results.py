"""Match results with the runs that made them, by hash.

A result that DVC restored from its cache has made no run, so times and names do not help.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.engine.code import is_program, is_values, values_of
from pipeline.engine.oracle import dvc_stages, overlap
from pipeline.engine.snapshot import effective

COSTS = ("seconds", "peak_memory_bytes", "seconds_per_1000_lists", "lists")
PARAMS = "params.yaml"


@dataclass(frozen=True)
class Result:
    """Hold what one execution of a stage wrote.

    outs, deps: {path: md5}; deps have code and data. params: the values that counted, by dotted
    names. run: MLflow's, or None. current: True when dvc.lock has this result.
    """

    stage: str
    outs: dict[str, str]
    deps: dict[str, str]
    params: dict[str, Any]
    run: Any
    current: bool

    @property
    def commit(self) -> str | None:
        return self.run.data.tags.get("git.commit") or None if self.run else None

    @property
    def dirty(self) -> bool | None:
        """Return whether files differed from that commit; None when this is not known."""
        known = {"true": True, "false": False}
        return known.get(self.run.data.tags.get("git.dirty")) if self.run else None

    @property
    def git_problem(self) -> str:
        """Return why the commit, or whether files differed from it, is not known."""
        return self.run.data.tags.get("git.problem", "") if self.run else ""

    @property
    def environment(self) -> dict[str, str]:
        """Return what the result was computed with; empty when this is not known."""
        from pipeline.tracking.environment import environment_of

        return environment_of(self.run.data.tags) if self.run else {}


class Results:
    """Hold the results of dvc.lock and those of all finished runs, and read DVC's cache."""

    def __init__(self) -> None:
        from dvc.dependency import ParamsDependency
        from dvc.utils.flatten import flatten

        with dvc_stages() as (repo, stages):
            self._cache = repo.cache.local
            lock = {}
            for s in stages:
                if not all(o.hash_info for o in s.outs):
                    continue
                data = {
                    d.def_path: d.hash_info.value
                    for d in s.deps
                    if not isinstance(d, ParamsDependency)
                }
                within = [
                    o
                    for other in stages
                    for o in other.outs
                    if any(o.def_path.startswith(f"{d}/") for d in data)
                ]
                values = [
                    d.hash_info.value or {} for d in s.deps if isinstance(d, ParamsDependency)
                ]
                lock[s.name] = (
                    {o.def_path: o.hash_info.value for o in s.outs},
                    data | {o.def_path: o.hash_info.value for o in within if o.hash_info},
                    effective({k: v for p in values for k, v in flatten(p).items()})
                    | self._values(data),
                )
        self.stages = [s.name for s in stages]
        self.current: dict[str, Result] = {}
        for stage, (outs, deps, params) in lock.items():
            made = [run for run in self._runs.get(stage, []) if _has(_outputs(run), outs)]
            # equal results may have other inputs
            exact = [run for run in made if _has(_inputs(run), deps)]
            self.current[stage] = Result(
                stage,
                outs=outs,
                deps=deps,
                params=params,
                run=next(iter(exact + made), None),
                current=True,
            )

    def _values(self, deps: dict[str, str]) -> dict[str, Any]:
        """Read the parameter values among the dependencies of a stage. deps: {path: md5}."""
        contents = [self.content(digest) for path, digest in deps.items() if is_values(path)]
        found = [values_of(json.loads(content)) for content in contents if content]
        return {key: value for values in found for key, value in values.items()}

    @cached_property
    def _runs(self) -> dict[str | None, list]:
        """Return the finished runs of every stage, newest first."""
        from pipeline.tracking.store import (
            EXPERIMENT,
            check_store,
            explain,
            open_client,
            store_exists,
        )

        if not store_exists():
            return {}
        check_store(write=False)
        # imports MLflow
        from pipeline.tracking.records import search, write_unrecorded

        write_unrecorded()
        found: dict[str | None, list] = {}
        try:
            client = open_client()
            if experiment := client.get_experiment_by_name(EXPERIMENT):
                number = experiment.experiment_id
                for run in search(client, number, "attributes.status = 'FINISHED'"):
                    found.setdefault(run.data.tags.get("stage"), []).append(run)
        # of MLflow, SQLAlchemy, SQLite or the network
        except Exception as error:
            raise ValueError(explain(error)) from None
        self._pipelines = {run.info.run_id: run.info.run_name for run in found.pop(None, [])}
        return found

    def pipeline_of(self, result: Result) -> str | None:
        """Return the name of the pipeline run that a result's run belongs to."""
        return (
            self._pipelines.get(result.run.data.tags.get("mlflow.parentRunId"))
            if result.run
            else None
        )

    def of_run(self, prefix: str) -> Result:
        """Find a stage's run by the start of its id.

        Raises ValueError unless there is exactly one.
        """
        found = [
            run
            for runs in self._runs.values()
            for run in runs
            if run.info.run_id.startswith(prefix)
        ]
        if len(found) != 1:
            raise ValueError(
                f"{prefix}: {len(found) or 'no'} finished runs of stages have an id that starts "
                "with this; give a longer part of the id"
            )
        return self._of(found[0])

    def of_path(self, path: str) -> Result:
        """Find the current result that contains a file or folder.

        Raises ValueError if there is none.
        """
        for result in self.current.values():
            if any(path == out or path.startswith(f"{out}/") for out in result.outs):
                return result
        inside = [
            out for result in self.current.values() for out in result.outs if overlap(path, out)
        ]
        hint = (
            f"; it holds the results {', '.join(sorted(inside)[:5])}"
            if inside
            else "; `dvc stage list` names the stages"
        )
        raise ValueError(f"{path}: no result of a stage{hint}")

    def maker(self, path: str, digest: str) -> Result | None:
        """Find the result with these bytes at this path: the current one, else the newest run's."""
        return self._makers.get((path, digest))

    @cached_property
    def _makers(self) -> dict[tuple[str, str], Result]:
        found: dict[tuple[str, str], Result] = {}
        older = (self._of(run) for runs in self._runs.values() for run in runs)
        for result in (*self.current.values(), *older):
            for path, digest in result.outs.items():
                found.setdefault((path, digest), result)
        return found

    def _of(self, run) -> Result:
        tags = run.data.tags
        stage = tags["stage"]
        now = self.current.get(stage)
        if now and now.run and now.run.info.run_id == run.info.run_id:
            return now
        return Result(
            stage,
            outs=_outputs(run),
            deps=_inputs(run),
            params=dict(run.data.params),
            run=run,
            current=False,
        )

    def sources(self, result: Result) -> list[Result]:
        """Find the results that a result was made from, each once."""
        found = {
            id(m): m for path, digest in result.deps.items() if (m := self.maker(path, digest))
        }
        return list(found.values())

    def files(self, digest: str) -> dict[str, str] | None:
        """List the files of a folder by its md5: {relative path: md5}.

        Returns None when DVC's cache no longer has the list.
        """
        listing = self.content(digest)
        return (
            {entry["relpath"]: entry["md5"] for entry in json.loads(listing)}
            if listing is not None
            else None
        )

    def content(self, digest: str) -> bytes | None:
        """Read the bytes with this md5 from DVC's cache."""
        path = Path(self._cache.oid_to_path(digest))
        return path.read_bytes() if path.is_file() else None

    def read(self, result: Result, name: str) -> Any:
        """Read a JSON file from a result's outputs in DVC's cache; None when there is no such file.

        The file is found by hash. The folder in the workspace may have changed since.
        """
        for path, digest in result.outs.items():
            own = (
                digest
                if Path(path).name == name
                else (self.files(digest) or {}).get(name)
                if digest.endswith(".dir")
                else None
            )
            if own and (text := self.content(own)):
                return json.loads(text)
        return None

    def code(self, result: Result) -> dict[str, str]:
        """List the code files behind a result: {path: sha256}, or {path: md5} of dependencies.

        Files of settings are in `settings_code`. What DVC's cache no longer has is left out.
        """
        found = {
            path: digest
            for path, digest in result.deps.items()
            if not path.startswith(("data/", PARAMS)) and not digest.endswith(".dir")
        }
        for program in self.programs(result).values():
            found |= program["files"] if program else {}
        return found

    def settings_code(self, result: Result) -> dict[str, str]:
        """List the files of settings behind a result: {path: sha256 of the code of `rest_of`}.

        What DVC's cache no longer has is left out.
        """
        found: dict[str, str] = {}
        for program in self.programs(result).values():
            found |= program.get("settings", {}) if program else {}
        return found

    def programs(self, result: Result) -> dict[str, dict[str, Any] | None]:
        """Read the files of `pipeline.engine.code` behind a result: {path: content}.

        A content is None when DVC's cache no longer has it.
        """
        contents = {
            path: self.content(digest) for path, digest in result.deps.items() if is_program(path)
        }
        return {path: json.loads(text) if text else None for path, text in contents.items()}

    def archives(self, result: Result) -> dict[str, dict[str, Any]]:
        """List the raw files that a result holds: {name: {sha256, bytes, address}}."""
        return (self.read(result, "source.json") or {}).get("files", {})

    def language_model(self, result: Result) -> dict[str, str] | None:
        """Return the language model that a result was made with: {model, sha256}, or None."""
        for name in ("profile.json", "model.json"):
            about = self.read(result, name) or {}
            language = about.get("language")
            if not isinstance(language, dict):
                continue
            sha256 = about.get("language_sha256") or language.get("sha256")
            if sha256:
                return {"model": language["model"], "sha256": sha256}
        return None


def costs() -> dict[str, dict[str, float]]:
    """Return {stage: {seconds, peak_memory_bytes}} of the current results.

    The stages recommend have seconds_per_1000_lists and the number of lists too. Stages without a
    known run are left out.
    """
    return {
        name: {k: r.run.data.metrics[k] for k in COSTS if k in r.run.data.metrics}
        for name, r in Results().current.items()
        if r.run
    }


def provenance() -> list[dict[str, Any]]:
    """Return what is known about the origin of each current result.

    Each entry has stage, run_id, commit, dirty, environment, outs, deps, archives, language_model.
    outs and deps are {path: hash}; archives and language_model are as in `Results`; environment is
    {name: value} of what the stage was computed with. run_id, commit and dirty are None, and
    environment is empty, when they are not known.
    """
    results = Results()
    return [
        {
            "stage": r.stage,
            "run_id": r.run.info.run_id if r.run else None,
            "commit": r.commit,
            "dirty": r.dirty,
            "environment": r.environment,
            "outs": r.outs,
            "deps": r.deps,
            "archives": results.archives(r),
            "language_model": results.language_model(r),
        }
        for r in results.current.values()
    ]


def _inputs(run) -> dict[str, str]:
    from pipeline.tracking.records import inputs_of

    return inputs_of(run.data.tags)


def _outputs(run) -> dict[str, str]:
    from pipeline.tracking.records import outputs_of

    return outputs_of(run.data.tags)


def _has(recorded: dict[str, str], hashes: dict[str, str]) -> bool:
    """Tell whether a run has recorded these hashes, perhaps among others."""
    return all(recorded.get(path) == digest for path, digest in hashes.items())


def in_order(
    results: Results, top: Result, keep: Collection[str] | None = None
) -> list[tuple[Result, list[Result]]]:
    """List a result and all results that it was made from, sources first.

    Each comes with its direct sources. keep: only these stages count as direct sources of top.
    """
    found: dict[int, tuple[Result, list[Result]]] = {}

    def visit(result: Result) -> None:
        if id(result) in found:
            return
        sources = results.sources(result)
        if result is top and keep is not None:
            sources = [s for s in sources if s.stage in keep]
        for source in sources:
            visit(source)
        found[id(result)] = (result, sources)

    visit(top)
    return list(found.values())
