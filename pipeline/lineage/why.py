"""Explain why a stage would run again."""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from glta.nearest import hint
from pipeline.engine.code import STAGE, changes, differences, is_data, settled
from pipeline.engine.oracle import Stage, downstream, dvc_stages, read_stages

UP_TO_DATE = "up to date"
GROUPS = 8
"""Kinds of reasons that a list of stale stages shows."""
NAMES = 6
"""Stages of one kind that such a list names in full."""
WIDTH = 100


def why(name: str = "") -> dict[str, str]:
    """Explain why a stage, or all of its matrix entries, are stale: {stage: one line}.

    name: "" for all stages that are stale or wait for a stale one. Raises ValueError for an unknown
    stage.
    """
    stages, status = read_stages(ask=True)
    names = dict.fromkeys([*(s.name.partition("@")[0] for s in stages), *(s.name for s in stages)])
    if name and name not in names:
        raise ValueError(
            f"{name}: no such stage{hint(name, names, 3, listed_by='dvc stage list --name-only')}"
        )
    chosen = [s for s in stages if name in ("", s.name, s.name.partition("@")[0])]
    changed = differences() if status and STAGE in status else {}
    direct = reasons(stages, status, changed)
    fixed = settled(status, changed)
    lines = {s.name: _line(s, stages, direct, fixed) for s in chosen}
    return {stage: line for stage, line in lines.items() if name or line != UP_TO_DATE}


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
    return UP_TO_DATE


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


def stale_lines(
    stages: list[Stage], direct: dict[str, list[str]], tainted: Collection[str]
) -> list[str]:
    """Write which stages are stale, one short line for all that have the same reason.

    direct: {stage: reasons}. tainted: these stages and all that depend on them.
    """
    groups: dict[str, list[str]] = {}
    for name, words in direct.items():
        if kind := _kind(words):
            groups.setdefault(kind, []).append(name)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    lines = [f"stale: {len(tainted)} of {len(stages)} stages; `glta why` says why of each"]
    lines += [_group_line(kind, names) for kind, names in ordered[:GROUPS]]
    if len(ordered) > GROUPS:
        others = [name for _, names in ordered[GROUPS:] for name in names]
        lines.append(_group_line("other reasons", others))
    told = {name for names in groups.values() for name in names}
    if waiting := [s.name for s in stages if s.name in tainted and s.name not in told]:
        lines.append(_group_line("depends on these", waiting))
    return lines


def _kind(words: list[str]) -> str:
    """Write the reasons of a stage so that equal kinds are equal text; "" for a missing input.

    An input is missing where the stage that makes it is stale.
    """
    own = [re.sub(r"^its result \S+ is ", "its result is ", word) for word in words]
    found = [w for w in dict.fromkeys(own) if not re.fullmatch(r"data/\S+ is missing", w)]
    return "; ".join(found[:2]) + (f" and {len(found) - 2} more" if len(found) > 2 else "")


def _group_line(kind: str, names: list[str]) -> str:
    """Write a kind of reason and the stages that have it.

    Many stages are shown by the part of their names before the @, with their number.
    """
    shown = names
    if len(names) > NAMES:
        families = Counter(name.partition("@")[0] for name in names)
        shown = [base if n == 1 else f"{base} ({n})" for base, n in families.items()]
    text = textwrap.shorten(f"{kind}: {', '.join(shown)}", 4 * WIDTH, placeholder=" ...")
    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
