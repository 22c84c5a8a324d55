"""Where the numbers of a dataset come from: what was recorded, from raw files and a language model
to metrics.json.

Nothing here knows what stages there are. Results of one verb, the part of a stage's name before the
@, are one box; an arrow says that one read the very bytes that another wrote. A new stage shows up
by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from glta.report.analysis import Analysis, metric_title, title
from glta.report.flow import Box, draw
from glta.report.view import number, seconds

METRICS = "metrics.json"
WIDE = 142  # of a box with names of files
FILES_SHOWN = 3

Costs = dict[str, dict[str, float]]
Provenance = list[dict[str, Any]]  # as `pipeline.lineage.results.provenance` returns it


def lineage_view(a: Analysis, provenance: Provenance, costs: Costs) -> dict[str, Any] | None:
    """Gather what the report shows of a dataset's lineage; None when nothing of it is evaluated or
    recorded.
    """
    results = chain(a.dataset, provenance)
    if not results or a.any_cell is None:
        return None
    verbs: dict[str, Provenance] = {}
    for p in results:
        verbs.setdefault(verb_of(p["stage"]), []).append(p)
    makers = {
        made: verb for verb, members in verbs.items() for p in members for made in p["outs"].items()
    }
    steps = [step(a, verb, members, makers, costs) for verb, members in verbs.items()]
    models = sorted({(m["model"], m["sha256"]) for p in results if (m := p["language_model"])})
    method = min(a.methods, key=lambda m: m != a.params.report.reference)
    metric, seed = a.params.report.metric, min(a.cells[method])
    boxes = [
        *(s["box"] for s in steps),
        *(model_box(*m) for m in models),
        numbers_box(a, method, seed, results),
    ]
    return {
        "dataset": a.dataset,
        "svg": draw(f"Where the numbers of {a.dataset} come from", boxes).svg(),
        "steps": steps,
        "archives": {
            name: about["sha256"] for p in results for name, about in p["archives"].items()
        },
        "models": models,
        "target": f"data/report/{METRICS}#{a.dataset}/{method}/{seed}/{metric}",
        "asked": f"{metric_title(metric)} of {title(method)} with seed {seed}",
        "dirty": any(p["dirty"] for p in results),
    }


def chain(dataset: str, provenance: Provenance) -> Provenance:
    """Keep the dataset's evaluations and all they were made from, followed by path and hash."""
    by_stage = {p["stage"]: p for p in provenance}
    makers = {made: p["stage"] for p in provenance for made in p["outs"].items()}
    found, todo = set(), evaluations(dataset, provenance)
    while todo:
        stage = todo.pop()
        if stage not in found:
            found.add(stage)
            todo += [makers[read] for read in by_stage[stage]["deps"].items() if read in makers]
    return [p for p in provenance if p["stage"] in found]


def evaluations(dataset: str, provenance: Provenance) -> list[str]:
    """Name the stages whose results the report reads."""
    return [
        p["stage"]
        for p in provenance
        if any(path.startswith(f"data/evaluate/{dataset}/") for path in p["outs"])
    ]


def verb_of(stage: str) -> str:
    return stage.partition("@")[0]


def step(
    a: Analysis, verb: str, members: Provenance, makers: dict[tuple[str, str], str], costs: Costs
) -> dict[str, Any]:
    """Fold the results of one verb into a box and a row of the table."""
    runs = {p["stage"]: p["run_id"] for p in members}
    spent = [costs[stage]["seconds"] for stage in runs if stage in costs]
    time = seconds(sum(spent)) if spent else ""
    commits = sorted({p["commit"] for p in members if p["commit"]})
    archives = {name: about["sha256"] for p in members for name, about in p["archives"].items()}
    read = [
        maker
        for p in members
        for dep in p["deps"].items()
        if (maker := makers.get(dep, verb)) != verb
    ]
    read += [model_name(**model) for p in members if (model := p["language_model"])]
    sources = list(dict.fromkeys(read))
    lines = [
        *counts(a, list(runs)),
        time,
        runs_text(list(runs.values())),
        commits_text(commits, any(p["dirty"] for p in members)),
    ]
    tip = [f"{stage}: run {run or 'not known'}" for stage, run in runs.items()] + [
        f"commit {commit}" for commit in commits
    ]
    box = Box(
        verb, short(verb, 12), "ink", [line for line in lines if line], "\n".join(tip), sources
    )
    if archives:
        box = raw_box(box, archives)
    return {
        "box": box,
        "verb": verb,
        "sources": sources,
        "time": time,
        "runs": runs,
        "commits": commits,
    }


def raw_box(box: Box, archives: dict[str, str]) -> Box:
    """Put files and their sha256 into the box of the stage that fetched them."""
    files = [
        line for name, sha256 in archives.items() for line in (short(name), f"sha256 {sha256[:12]}")
    ]
    if len(archives) > FILES_SHOWN:
        files[2 * FILES_SHOWN :] = [f"and {len(archives) - FILES_SHOWN} more"]
    tip = "".join(f"{name}: sha256 {sha256}\n" for name, sha256 in archives.items())
    return replace(
        box,
        heading="raw data",
        kind="m2",
        lines=[*files, *box.lines],
        tip=tip + box.tip,
        width=WIDE,
    )


def counts(a: Analysis, stages: Sequence[str]) -> list[str]:
    """Say of how many methods (or of what else) and seeds the results are, where there are
    several.
    """
    cells = [
        stage.partition("@")[2].removeprefix(a.dataset).strip("-").partition("-")
        for stage in stages
    ]
    seeds, kinds = ({cell[part]: None for cell in cells} for part in (0, 2))
    lines = []
    if len(kinds) > 1:
        lines.append(
            f"{len(kinds)} methods"
            if kinds.keys() & a.cells.keys()
            else short(", ".join(kinds), 14)
        )
    if len(seeds) > 1:
        lines.append(f"× {len(seeds)} seeds" if lines else f"{len(seeds)} seeds")  # noqa: RUF001 - the sign for times
    return lines


def runs_text(runs: Sequence[str | None]) -> str:
    """Write the id of one run, or how many there are."""
    known = [run for run in runs if run]
    if len(known) < len(runs):
        return f"{len(known)} of {len(runs)} runs" if known else "run not known"
    return f"run {known[0][:7]}" if len(known) == 1 else f"{len(known)} runs"


def commits_text(commits: Sequence[str], dirty: bool) -> str:
    """Write the one commit, or how many there are; an asterisk for changes beside them."""
    if not commits:
        return ""
    return (
        f"git {commits[0][:7]}" if len(commits) == 1 else f"{len(commits)} commits"
    ) + "*" * dirty


def model_name(model: str, sha256: str) -> str:
    return f"{model} {sha256[:12]}"


def model_box(model: str, sha256: str) -> Box:
    """Show a language model's weights: a beginning, as raw data are."""
    lines = [short(model.rstrip("/").rpartition("/")[2]), f"sha256 {sha256[:12]}"]
    return Box(
        model_name(model, sha256),
        "language model",
        "m5",
        lines,
        f"{model}: weights sha256 {sha256}",
        width=WIDE,
    )


def numbers_box(a: Analysis, method: str, seed: int, results: Provenance) -> Box:
    """Show the number that is traced below the picture, and on hover those of all methods and
    seeds.
    """
    metric = a.params.report.metric
    lines = [metric_title(metric), short(title(method), 13), f"seed {seed}", METRICS]
    values = [
        f"{title(m)}, seed {s}: {number(cell.metrics[metric])}"
        for m in a.methods
        for s, cell in a.cells[m].items()
    ]
    sources = list(dict.fromkeys(verb_of(stage) for stage in evaluations(a.dataset, results)))
    return Box(
        METRICS,
        number(a.cells[method][seed].metrics[metric]),
        "m3",
        lines,
        "\n".join([metric_title(metric), *values]),
        sources,
    )


def short(name: str, limit: int = 19) -> str:
    """Cut the middle out of a long name: its end tells versions and file types."""
    return name if len(name) <= limit else f"{name[: limit - 7]}…{name[-6:]}"
