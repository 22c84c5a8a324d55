"""Explain why a stage would run again."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from pipeline.engine.code import STAGE, changes, differences, is_data, settled
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
    changed = differences() if status and STAGE in status else {}
    direct = reasons(stages, status, changed)
    fixed = settled(status, changed)
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


def reasons(
    stages: list[Stage], status: dict[str, list] | None, changed: dict[str, list[str]]
) -> dict[str, list[str]]:
    """Write the changes that make stages stale as text: {stage: reasons}.

    They are what DVC reports, and the edits of code and parameters that the stage `code` has not
    recorded yet. stages, status: of `read_stages`. changed: of `pipeline.engine.code.differences`.
    """
    with dvc_stages() as (repo, found):
        listed = {
            s.name: _reasons(repo, s, (status or {})[s.name])
            for s in found
            if s.name in (status or {})
        }
    for stage in stages:
        edits = [line for path in stage.deps for line in changed.get(path, [])]
        if edits and "it has never run" not in listed.get(stage.name, []):
            listed[stage.name] = list(dict.fromkeys([*listed.get(stage.name, []), *edits]))
    return listed


def all_reasons() -> dict[str, list[str]]:
    """Return why each stage of this checkout is stale: {stage: reasons}."""
    stages, status = read_stages(ask=True)
    return reasons(stages, status, differences() if status and STAGE in status else {})


def _reasons(repo, stage, report: list) -> list[str]:
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
            elif path.startswith("data/") and not is_data(path):
                words += _recorded(repo, stage, path) or [_changed(path, state)]
            else:
                words.append(_changed(path, state))
        words += [
            f"its result {path} is {_state(path, state)}"
            for path, state in entry.get("changed outs", {}).items()
        ]
    return words or ["DVC reports: " + ", ".join(map(str, report))]


def _recorded(repo, stage, path: str) -> list[str]:
    """Tell what differs between a file of the stage `code` and the one that the stage has used."""
    old = next(d.hash_info for d in stage.deps if d.def_path == path)
    before = Path(repo.cache.local.oid_to_path(old.value)) if old else Path()
    if not before.is_file() or not Path(path).is_file():
        return []
    return changes(*(json.loads(each.read_text(encoding="utf-8")) for each in (before, Path(path))))


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
