"""Trace a number back to the raw archive and the language model's weights, and check results."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.engine.code import is_data
from pipeline.engine.imports import rest_in
from pipeline.lineage.results import Result, Results, in_order
from pipeline.tracking.commit import content_at, current_commit, has_commit
from pipeline.tracking.environment import differences, in_short


class Trace(NamedTuple):
    """Hold a result and everything that it depends on. value: of the metric, if one was named."""

    target: str
    value: Any
    # sources first; the last one made the target
    steps: list[dict[str, Any]]

    def to_json(self) -> str:
        return json.dumps({"schema": 1, **self._asdict()}, indent=1)


def trace(target: str) -> Trace:
    """Trace a file, a metric FILE#METRIC or a run back to files that no stage makes.

    METRIC is the path of keys in the JSON file, joined by "/". A run is named by its id or the
    start of it. Raises ValueError for a target that no stage makes, a metric that does not exist,
    and a file that is no longer what its stage wrote.
    """
    path, _, key = target.partition("#")
    results = Results()
    value = keep = None
    if re.fullmatch(r"[0-9a-f]{4,32}", path) and not Path(path).exists():
        top = results.of_run(path)
    else:
        absolute = Path(os.path.normpath(Path.cwd() / path))
        if not absolute.is_relative_to(Path.cwd()):
            raise ValueError(f"{path}: is outside of the checkout {Path.cwd()}")
        path = absolute.relative_to(Path.cwd()).as_posix()
        top = results.of_path(path)
        if key:
            value = _metric(results, top, path, key)
            keep = _behind(results, top, key)
    return Trace(target, value, [_step(results, *pair) for pair in in_order(results, top, keep)])


def _metric(results: Results, result: Result, path: str, key: str) -> Any:
    """Read a metric from a file. Raises ValueError when the file is not what the stage wrote."""
    for problem in _edits(results, result):
        if problem["where"].startswith(path):
            raise ValueError(f"{problem['where']}: {problem['what']}; {problem['fix']}")
    value = json.loads(Path(path).read_text(encoding="utf-8"))
    rest = key
    while rest:
        if not isinstance(value, dict):
            raise ValueError(f"{path}#{key}: nothing below {key.removesuffix('/' + rest)}")
        # names of metrics may contain a slash
        first = rest if rest in value else rest.partition("/")[0]
        if first not in value:
            raise ValueError(f"{path}#{key}: no {first}; there are {', '.join(map(str, value))}")
        value, rest = value[first], rest[len(first) + 1 :]
    return value


def _behind(results: Results, result: Result, key: str) -> set[str] | None:
    """Return the sources that one metric depends on; None when this cannot be told from its key.

    A source is chosen when all folders of its path are in the key. Folders that all sources share
    do not count.
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
        "git_problem": result.git_problem,
        "environment": result.environment,
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
    """Check results, runs, code and archives against each other.

    Returns {schema, problems, warnings, results, runs, archives}. problems and warnings are lists
    of {where, what, fix}. A result is a problem when it is not what its stage wrote, when the run
    that made it is unknown or had other inputs, or when it is stale. Code that was never committed
    is a warning, and so are environments that differ within the results of one dataset.
    """
    from pipeline.lineage.why import all_reasons
    from pipeline.tracking.records import inputs_of

    results = Results()
    warnings: list[dict[str, str]] = []
    archives: dict[str, str] = {}
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
                f"`snakemake --cores all -R {result.stage}`"
            )
            problems.append(_problem(result.stage, "no finished run has written this result", fix))
        else:
            recorded = inputs_of(result.run.data.tags)
            other = [path for path, digest in result.deps.items() if recorded.get(path) != digest]
            if other:
                what = (
                    f"its run {result.run.info.run_id[:8]} had other inputs: {', '.join(other[:5])}"
                )
                fix = f"make it again: `snakemake --cores all -R {result.stage}`"
                problems.append(_problem(result.stage, what, fix))
            warnings += _code_not_known(results, result)
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
                                f"`dvc checkout {path.parent}`",
                            )
                        )
    edited = {p["where"] for p in problems}
    for stage, why in all_reasons().items():
        if stage in results.current and not any(
            w.startswith(tuple(results.current[stage].outs)) for w in edited
        ):
            problems.append(_problem(stage, f"stale: {'; '.join(why)}", again))
    warnings += _different_environments(results)
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
        fix = f"restore it: `dvc checkout --force {out}`"
        if not Path(out).exists():
            found.append(_problem(out, "is missing", f"`dvc checkout {out}`, or `dvc pull`"))
        elif digest.endswith(".dir"):
            recorded = results.files(digest)
            if recorded is None:
                found.append(_problem(out, "DVC's cache does not have it", "`dvc pull`"))
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
                    f"{fix}, or make it again: `dvc repro -f -s {result.stage}`",
                )
            )
    return found


def _code_not_known(results: Results, result: Result) -> list[dict[str, str]]:
    """Warn when the code of a result is in no commit, or when git did not say whether it is."""
    if result.dirty is False and result.commit:
        return []
    fix = "commit, then make it again"
    if not result.commit:
        why = result.git_problem or "git gave no answer"
        what = f"made from code whose commit is not known: {why}"
        return [_problem(result.stage, what, f"let git answer, {fix}")]
    if not has_commit(result.commit):
        if refused := current_commit().problem:
            what = f"git does not say whether it has the code of this result: {refused}"
            return [_problem(result.stage, what, "let git answer, then check again")]
        what = f"commit {result.commit[:12]} of its code is not in this clone"
        return [_problem(result.stage, what, "`git fetch --unshallow`, or fetch that commit")]
    if lost := _not_in_git(results, result):
        what = f"made with changes that commit {result.commit[:12]} does not have"
        return [_problem(result.stage, f"{what}: {', '.join(lost[:5])}", fix)]
    if gone := [path for path, content in results.programs(result).items() if content is None]:
        what = f"its code was not compared with commit {result.commit[:12]}: DVC's cache does not"
        return [_problem(result.stage, f"{what} have {', '.join(gone)}", "`dvc pull`")]
    return []


def _not_in_git(results: Results, result: Result) -> list[str]:
    """Return the code files whose content in the run is not that of the run's commit."""
    lost = [
        path
        for path, digest in results.settings_code(result).items()
        if _sha256_of_rest_at(result.commit, path) != digest
    ]
    for path, digest in results.code(result).items():
        content = content_at(result.commit, path) if result.commit else None
        if content is None or digest not in (
            hashlib.sha256(content).hexdigest(),
            md5_of(content),
        ):
            lost.append(path)
    return lost


def _sha256_of_rest_at(commit: str | None, path: str) -> str | None:
    """Hash the code of a file of settings as `pipeline.engine.code` does, but as a commit has it.

    Returns None when the commit has no such file, or no Python in it.
    """
    content = content_at(commit, path) if commit else None
    try:
        return (
            None if content is None else hashlib.sha256(rest_in(content, path).encode()).hexdigest()
        )
    except ValueError:
        return None


def _different_environments(results: Results) -> list[dict[str, str]]:
    """Warn when the results of one dataset were computed in environments that differ.

    Numbers of one table are then not quite comparable: their last digits, and with them a training,
    may depend on the processor or on the version of a package.
    """
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for result in results.current.values():
        if result.run:
            dataset = result.run.data.tags.get("dataset", "")
            tables.setdefault(dataset, {})[result.stage] = result.environment
    # stages of no dataset, such as the report, compute no number of a table
    if len(tables) > 1:
        tables.pop("", None)
    return [
        _problem(
            dataset or "results",
            f"its results come from different environments: {name} is {_shares(values)}",
            "for numbers of one table, make all of them in one: snakemake --cores all -F",
        )
        for dataset, stages in tables.items()
        for name, values in differences(stages).items()
    ]


def _shares(values: dict[str, list[str]]) -> str:
    return ", ".join(
        f"{value} in {len(stages)} ({stages[0]}{', ...' if len(stages) > 1 else ''})"
        for value, stages in values.items()
    )


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
    """Draw a trace as a rich Tree with the target at the top.

    A stage that was shown before is only named.
    """
    from rich.markup import escape
    from rich.tree import Tree

    steps = {step["stage"]: step for step in found.steps}
    shown: set[str] = set()

    def add(parent, step: dict[str, Any]) -> None:
        if step["stage"] in shown:
            parent.add(f"[dim]{escape(step['stage'])}, see above[/]")
            return
        # most stages have the same environment, which is shown once
        environment = in_short(step["environment"])
        lines = _lines(step)
        if environment and environment not in shown:
            lines.append(f"  computed with {escape(environment)}")
        shown.update((step["stage"], environment))
        node = parent.add("\n".join(lines))
        for name, about in step["archives"].items():
            where = escape(about.get("address") or "made here")
            node.add(
                f"[green]{escape(name)}[/] sha256 {about['sha256']}, {about['bytes']:,} bytes, "
                f"{where}"
            )
        if step["language_model"]:
            node.add(
                f"[green]{escape(step['language_model']['model'])}[/] sha256 "
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
        problem = f" ({step['git_problem']})" if step["git_problem"] else ""
        commit = escape(f"{(step['commit'] or 'unknown')[:12]}{problem}")
        lines.append(f"  commit {commit}{dirty}; {len(step['code'])} code files")
    else:
        lines.append("  no run known here: set MLFLOW_TRACKING_URI to where it was recorded")
    if step["params"]:
        lines.append("  " + escape(", ".join(f"{k}={v}" for k, v in step["params"].items())))
    lines += [f"  {escape(path)} md5 {digest}" for path, digest in step["outputs"].items()]
    return lines
