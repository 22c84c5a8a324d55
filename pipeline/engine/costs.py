"""From the results of dvc.lock back to the runs that made them, by hash: a result restored from the cache makes no run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from pipeline.engine.oracle import dvc_stages

COSTS = ("seconds", "peak_memory_bytes")


def costs() -> dict[str, dict[str, float]]:
    """Return {stage: {seconds, peak_memory_bytes}} of the current results; a stage without a known run is left out."""
    return {stage: {k: run.data.metrics[k] for k in COSTS} for stage, _, _, run in _current() if run}


def provenance() -> list[dict[str, Any]]:
    """Return for each current result {stage, run_id, commit, dirty, outs, deps}; outs and deps are {path: hash}.

    run_id, commit and dirty are None where no run is known.
    """
    return [
        {
            "stage": stage,
            "run_id": run.info.run_id if run else None,
            "commit": run.data.tags.get("git.commit") if run else None,
            "dirty": run.data.tags.get("git.dirty") == "true" if run else None,
            "outs": outs,
            "deps": deps,
        }
        for stage, outs, deps, run in _current()
    ]


def _current() -> Iterator[tuple[str, dict[str, str], dict[str, str], Any]]:
    """Yield (stage, outs, deps, run or None) for every stage that dvc.lock holds a result of."""
    from dvc.dependency import ParamsDependency

    with dvc_stages() as (_, stages):
        lock = {
            s.name: (
                {o.def_path: o.hash_info.value for o in s.outs},
                {d.def_path: d.hash_info.value for d in s.deps if not isinstance(d, ParamsDependency)},
            )
            for s in stages
            if all(o.hash_info for o in s.outs)
        }
    runs = _runs(set(lock))
    for stage, (outs, deps) in lock.items():
        made = [run for run in runs.get(stage, []) if _hashes(run, "dvc.out.", outs) == outs]
        exact = [run for run in made if _hashes(run, "dvc.in.", deps) == deps]  # equal results may come from other inputs
        yield stage, outs, deps, next(iter(exact + made), None)


def _hashes(run, prefix: str, paths: dict[str, str]) -> dict[str, str | None]:
    return {path: run.data.tags.get(prefix + path) for path in paths}


def _runs(stages: set[str]) -> dict[str, list]:
    """Return the finished runs of the stages, newest first."""
    from pipeline.engine.records import DATABASE, EXPERIMENT, open_client

    if not os.environ.get("MLFLOW_TRACKING_URI") and not DATABASE.exists():
        return {}
    client, found, token = open_client(), {}, None
    experiment = client.get_experiment_by_name(EXPERIMENT)
    while experiment and token != "":
        page = client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'", page_token=token)
        for run in page:
            if run.data.tags.get("stage") in stages:
                found.setdefault(run.data.tags["stage"], []).append(run)
        token = page.token or ""
    return found
