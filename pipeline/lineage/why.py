"""Explain why a stage would run again."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pipeline.engine.code import settled
from pipeline.engine.oracle import Stage, downstream, dvc_stages, read_stages


def why(name: str) -> dict[str, str]:
    """Explain why a stage, or all of its matrix entries, are stale: {stage: one line}.

    Raises ValueError for an unknown stage.
    """
    from pipeline.lineage.trace import enter_repository

    enter_repository()
    stages, status = read_stages(ask=True)
    chosen = [s for s in stages if name in (s.name, s.name.partition("@")[0])]
    if not chosen:
        near = difflib.get_close_matches(
            name, [s.name for s in stages] + [s.name.partition("@")[0] for s in stages], n=3
        )
        raise ValueError(
            f"{name}: no such stage; "
            + (f"nearest: {', '.join(dict.fromkeys(near))}" if near else "see dvc stage list")
        )
    direct = reasons(status)
    fixed = settled(status)
    return {s.name: _line(s, stages, direct, fixed) for s in chosen}


def _line(stage: Stage, stages: list[Stage], direct: dict[str, list[str]], fixed: set[str]) -> str:
    if stage.name in direct:
        return f"stale: {'; '.join(direct[stage.name])}"
    sources = {name for name in direct if stage.name in downstream(stages, {name}, fixed)}
    first = [
        s.name
        for s in stages
        if s.name in sources
        and not any(s.name in downstream(stages, {o}, fixed) - {o} for o in sources)
    ]
    if first:
        more = f" and {len(first) - 1} more" if len(first) > 1 else ""
        return f"waits for {first[0]}{more}, which is stale: {'; '.join(direct[first[0]])}"
    return "up to date"


def reasons(status: dict[str, list] | None = None) -> dict[str, list[str]]:
    """Write the changes that DVC reports as text: {stage: reasons}.

    status: of `read_stages`; computed when None.
    """
    found = (read_stages(ask=True)[1] or {}) if status is None else status
    with dvc_stages() as (_, stages):
        return {s.name: _reasons(s, found[s.name]) for s in stages if s.name in found}


def _reasons(stage, report: list) -> list[str]:
    words = []
    if not any(o.hash_info for o in stage.outs):
        return ["it has never run"]
    for entry in report:
        if entry == "changed command":
            words.append("its command in dvc.yaml changed")
            continue
        for path, state in entry.get("changed deps", {}).items():
            if isinstance(state, dict):
                words += _parameters(stage, path)
            else:
                words.append(_changed(path, state))
        words += [
            f"its result {path} is {_state(path, state)}"
            for path, state in entry.get("changed outs", {}).items()
        ]
    return words or ["DVC reports: " + ", ".join(map(str, report))]


def _changed(path: str, state: str) -> str:
    if state == "new":
        return f"{path} is a new dependency"
    return (
        f"{path} is missing"
        if not Path(path).exists()
        else f"{path} was edited"
        if Path(path).is_file()
        else f"{path} changed"
    )


def _state(path: str, state: str) -> str:
    return {
        "modified": "not what it wrote",
        "deleted": "missing",
        "not in cache": "not in DVC's cache",
    }.get(state, state)


def _parameters(stage, file: str) -> list[str]:
    """List the values that differ between dvc.lock and the parameter file."""
    from dvc.dependency import ParamsDependency
    from dvc.utils.flatten import flatten

    words = []
    for dep in stage.deps:
        if isinstance(dep, ParamsDependency) and dep.def_path == file:
            old = flatten(dep.hash_info.value or {})
            new = flatten(dep.read_params())
            words += [
                f"{file} {key} {_show(old, key)} -> {_show(new, key)}"
                for key in {**old, **new}
                if old.get(key, ...) != new.get(key, ...)
            ]
    return words


def _show(values: dict[str, Any], key: str) -> str:
    return str(values[key]) if key in values else "unset"
