"""Where a number comes from, down to the raw archive and the language model's weights, and whether
that still holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.engine.code import is_data
from pipeline.lineage.results import Result, Results, in_order


class Trace(NamedTuple):
    """A result with everything it follows from. value: of the metric asked for, if one was."""

    target: str
    value: Any
    steps: list[dict[str, Any]]  # sources first; the last one made the target

    def to_json(self) -> str:
        return json.dumps({"schema": 1, **self._asdict()}, indent=1)


def enter_repository() -> None:
    """Go to the top of the checkout, where paths of stages start.

    Raises ValueError outside of one.
    """
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        os.chdir(Repo.find_root())
    except NotDvcRepoError:
        raise ValueError(
            f"{Path.cwd()}: not within a checkout with a pipeline (no .dvc above)"
        ) from None


def trace(target: str) -> Trace:
    """Follow a file, FILE#METRIC or the id of a run (or its beginning) back to what is not made by
    a stage.

    METRIC is the path of keys in the JSON file, joined by "/". Raises ValueError for a target that
    no stage makes, a metric that is not there, and a file that is no longer what its stage wrote.
    """
    here = Path.cwd()
    enter_repository()
    path, _, key = target.partition("#")
    results = Results()
    value = keep = None
    if re.fullmatch(r"[0-9a-f]{4,32}", path) and not (here / path).exists():
        top = results.of_run(path)
    else:
        absolute = Path(os.path.normpath(here / path))
        if not absolute.is_relative_to(Path.cwd()):
            raise ValueError(f"{path}: outside of the checkout {Path.cwd()}")
        path = absolute.relative_to(Path.cwd()).as_posix()
        top = results.of_path(path)
        if key:
            value = _metric(results, top, path, key)
            keep = _behind(results, top, key)
    return Trace(target, value, [_step(results, *pair) for pair in in_order(results, top, keep)])


def _metric(results: Results, result: Result, path: str, key: str) -> Any:
    """Read a metric from a file that is still what the stage wrote."""
    for problem in _edits(results, result):
        if problem["where"].startswith(path):
            raise ValueError(f"{problem['where']}: {problem['what']}; {problem['fix']}")
    value, rest = json.loads(Path(path).read_text(encoding="utf-8")), key
    while rest:
        if not isinstance(value, dict):
            raise ValueError(f"{path}#{key}: nothing below {key.removesuffix('/' + rest)}")
        first = (
            rest if rest in value else rest.partition("/")[0]
        )  # names of metrics may hold a slash
        if first not in value:
            raise ValueError(f"{path}#{key}: no {first}; there are {', '.join(map(str, value))}")
        value, rest = value[first], rest[len(first) + 1 :]
    return value


def _behind(results: Results, result: Result, key: str) -> set[str] | None:
    """Name the sources that one metric of many comes from: those whose folders, below what they
    share, are all in its key.
    """
    sources = {s.stage: Path(next(iter(s.outs))).parts[:-1] for s in results.sources(result)}
    shared = (
        os.path.commonpath(["/".join(p) for p in sources.values()]).count("/") + 1
        if len(sources) > 1
        else 0
    )
    chosen = {
        stage
        for stage, parts in sources.items()
        if shared and set(parts[shared:]) <= set(key.split("/"))
    }
    return chosen or None


def _step(results: Results, result: Result, sources: list[Result]) -> dict[str, Any]:
    run = result.run
    made = {p for s in sources for p in s.outs}
    data = {p: d for p, d in result.deps.items() if is_data(p)}
    return {
        "stage": result.stage,
        "current": result.current,
        "run_id": run.info.run_id if run else None,
        "pipeline_run": results.pipeline_of(result),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(run.info.start_time / 1000))
        if run
        else None,
        "seconds": run.data.metrics.get("seconds") if run else None,
        "commit": result.commit,
        "dirty": result.dirty,
        "params": result.params,
        "code": results.code(result),
        "inputs": {p: d for p, d in data.items() if p in made or not _made_by_any(results, p)},
        "outputs": result.outs,
        "made_from": sorted(s.stage for s in sources),
        "archives": results.archives(result),
        "language_model": results.language_model(result),
    }


def _made_by_any(results: Results, path: str) -> bool:
    return any(
        path in r.outs or any(o.startswith(f"{path}/") for o in r.outs)
        for r in results.current.values()
    )


def check() -> dict[str, Any]:
    """Compare results, runs, code and archives. Returns {problems, warnings, results, runs,
    archives}.

    problems and warnings: lists of {where, what, fix}. A result that is not what its stage wrote,
    without the run that made it, with other inputs than that run's, or stale, is a problem; changes
    without a commit are a warning.
    """
    from pipeline.lineage.why import reasons

    enter_repository()
    results, warnings, archives = Results(), [], {}
    again = "run `snakemake --cores all`"
    problems = [
        _problem(stage, "has no result", again)
        for stage in results.stages
        if stage not in results.current
    ]
    for result in results.current.values():
        problems += _edits(results, result)
        if result.run is None:
            fix = (
                "set MLFLOW_TRACKING_URI to where its run was recorded, or make it again: "
                "snakemake -R " + result.stage
            )
            problems.append(_problem(result.stage, "no finished run has written this result", fix))
        else:
            tags = result.run.data.tags
            other = [
                path for path, digest in result.deps.items() if tags.get(f"dvc.in.{path}") != digest
            ]
            if other:
                what = (
                    f"its run {result.run.info.run_id[:8]} had other inputs: {', '.join(other[:5])}"
                )
                problems.append(
                    _problem(result.stage, what, f"make it again: snakemake -R {result.stage}")
                )
            if result.dirty:
                what = (
                    "made with changes that commit "
                    f"{result.commit[:12] if result.commit else 'unknown'} does not have"
                )
                if lost := _not_in_git(results, result):
                    warnings.append(
                        _problem(
                            result.stage,
                            f"{what}: {', '.join(lost[:5])}",
                            "commit, then make it again",
                        )
                    )
        for name, about in results.archives(result).items():
            archives[name] = about["sha256"]
            path = Path(next(iter(result.outs))) / name
            if path.is_file():
                with path.open("rb") as f:
                    if hashlib.file_digest(f, "sha256").hexdigest() != about["sha256"]:
                        problems.append(
                            _problem(
                                str(path),
                                "not the bytes that source.json names",
                                f"dvc checkout {path.parent}",
                            )
                        )
    edited = {p["where"] for p in problems}
    for stage, why in reasons().items():
        if stage in results.current and not any(
            w.startswith(tuple(results.current[stage].outs)) for w in edited
        ):
            problems.append(_problem(stage, f"stale: {'; '.join(why)}", again))
    runs = sum(r.run is not None for r in results.current.values())
    return {
        "schema": 1,
        "problems": problems,
        "warnings": warnings,
        "results": len(results.current),
        "runs": runs,
        "archives": archives,
    }


def _problem(where: str, what: str, fix: str) -> dict[str, str]:
    return {"where": where, "what": what, "fix": fix}


def _edits(results: Results, result: Result) -> list[dict[str, str]]:
    """Find the files of a result that are no longer what its stage wrote."""
    found = []
    for out, digest in result.outs.items():
        fix = f"restore it: dvc checkout --force {out}"
        if not Path(out).exists():
            found.append(_problem(out, "is missing", f"dvc checkout {out}, or dvc pull"))
        elif digest.endswith(".dir"):
            recorded = results.files(digest)
            if recorded is None:
                found.append(_problem(out, "DVC's cache does not have it", "dvc pull"))
                continue
            present = {
                p.relative_to(out).as_posix(): p for p in Path(out).rglob("*") if p.is_file()
            }
            present.pop(".snakemake_timestamp", None)
            for name in sorted(recorded.keys() | present.keys()):
                what = (
                    "is missing"
                    if name not in present
                    else "was added"
                    if name not in recorded
                    else None
                )
                if what or _md5(present[name]) != recorded[name]:
                    found.append(
                        _problem(f"{out}/{name}", what or "is not what its stage wrote", fix)
                    )
        elif _md5(Path(out)) != digest:
            found.append(
                _problem(
                    out,
                    "is not what its stage wrote",
                    f"{fix}, or make it again: dvc repro -f -s {result.stage}",
                )
            )
    return found


def _not_in_git(results: Results, result: Result) -> list[str]:
    """Name the code files that were not at the run's commit as they were when it ran."""
    lost = []
    for path, digest in results.code(result).items():
        shown = subprocess.run(["git", "show", f"{result.commit}:{path}"], capture_output=True)
        same = digest in (hashlib.sha256(shown.stdout).hexdigest(), md5_of(shown.stdout))
        if shown.returncode or not same:
            lost.append(path)
    return lost


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _md5(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def mermaid(found: Trace) -> str:
    """Draw a trace as a Mermaid flowchart."""
    number = {step["stage"]: n for n, step in enumerate(found.steps)}
    lines = ["flowchart LR"]
    roots: dict[str, str] = {}
    for step in found.steps:
        n = number[step["stage"]]
        run = f"run {step['run_id'][:8]}" if step["run_id"] else "no run known"
        lines.append(f'  s{n}["{step["stage"]}<br/>{run}"]')
        lines += [f"  s{number[source]} --> s{n}" for source in step["made_from"]]
        leaves = [
            f"{name}<br/>sha256 {about['sha256'][:12]}" for name, about in step["archives"].items()
        ]
        if step["language_model"]:
            leaves.append(
                f"{step['language_model']['model']}<br/>sha256 "
                f"{step['language_model']['sha256'][:12]}"
            )
        lines += [f"  {roots.setdefault(leaf, f'r{len(roots)}')} --> s{n}" for leaf in leaves]
    lines += [f'  {name}[("{leaf}")]' for leaf, name in roots.items()]
    if found.value is not None:
        lines.append(f'  s{len(found.steps) - 1} --> value(["{found.value}"])')
    return "\n".join(lines)


def tree(found: Trace):
    """Lay a trace out as a rich Tree, the target at the top; a stage that was shown is only named
    again.
    """
    from rich.markup import escape
    from rich.tree import Tree

    steps, shown = {step["stage"]: step for step in found.steps}, set()

    def add(parent, step: dict[str, Any]) -> None:
        if step["stage"] in shown:
            parent.add(f"[dim]{escape(step['stage'])}, see above[/]")
            return
        shown.add(step["stage"])
        node = parent.add("\n".join(_lines(step)))
        for name, about in step["archives"].items():
            where = escape(about.get("address") or "made here")
            node.add(
                f"[green]{escape(name)}[/] sha256 {about['sha256']}, {about['bytes']:,} bytes, "
                f"{where}"
            )
        if step["language_model"]:
            node.add(
                f"[green]{escape(step['language_model']['model'])}[/] weights sha256 "
                f"{step['language_model']['sha256']}"
            )
        for path, digest in step["inputs"].items():
            if not any(path in steps[source]["outputs"] for source in step["made_from"]):
                node.add(f"[green]{escape(path)}[/] md5 {digest}, made by no stage")
        for source in step["made_from"]:
            add(node, steps[source])

    top = Tree(
        f"[bold]{escape(found.target)}[/]"
        + (f" = {found.value}" if found.value is not None else "")
    )
    add(top, found.steps[-1])
    return top


def _lines(step: dict[str, Any]) -> list[str]:
    from rich.markup import escape

    old = "" if step["current"] else " [yellow](not the current result)[/]"
    lines = [f"[bold cyan]{escape(step['stage'])}[/]{old}"]
    if step["run_id"]:
        where = f" of {step['pipeline_run']}" if step["pipeline_run"] else ""
        lines.append(
            f"  run {step['run_id'][:12]}{where}, {step['started'].replace('T', ' ')}, "
            f"{step['seconds']:.1f} s"
        )
        dirty = ", with changes that were not committed" if step["dirty"] else ""
        lines.append(
            f"  commit {(step['commit'] or 'unknown')[:12]}{dirty}; {len(step['code'])} code files"
        )
    else:
        lines.append("  no run known here: set MLFLOW_TRACKING_URI to where it was recorded")
    if step["params"]:
        lines.append("  " + escape(", ".join(f"{k}={v}" for k, v in step["params"].items())))
    lines += [f"  {escape(path)} md5 {digest}" for path, digest in step["outputs"].items()]
    return lines
