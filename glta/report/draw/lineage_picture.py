"""Draw where the numbers of a dataset come from, from the raw files to metrics.json.

This module does not know which stages exist. It folds the results of one verb into one box. The
verb is the part of a stage's name before the @; all stages that make the model of a method have the
verb "models". An arrow says that one stage read the very bytes
that another one wrote. A new stage appears without a change here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from glta.report.analysis import Analysis
from glta.report.draw.flow import Box, flow_chart
from glta.report.known import makes_model, places, title, whole_stage
from glta.report.wording import metric_title, number, seconds, shortened

METRICS = "metrics.json"

MODELS = "models"
"""The verb of all stages that make the model of a method or ablation."""

WIDE = 142
"""Width of a box with the names of files."""

FILES_SHOWN = 3
"""Raw files that a box names; the others are counted."""

Costs = dict[str, dict[str, float]]
"""By stage: seconds, peak_memory_bytes."""

Provenance = list[dict[str, Any]]
"""Results of stages, as `pipeline.lineage.results.provenance` returns them."""


@dataclass(frozen=True)
class DrawnStage:
    """Describe all results of one verb, as a box and as a row of the table.

    sources: verbs and language models that the results were made from. time: of all runs together,
    empty when not known. runs: ids of runs by stage, None where not known. commits: of the code.
    """

    verb: str
    box: Box
    sources: list[str]
    time: str
    runs: dict[str, str | None]
    commits: list[str]


def lineage_view(a: Analysis, *, provenance: Provenance, costs: Costs) -> dict[str, Any] | None:
    """Gather what the report shows of a dataset's lineage.

    Returns None when no result of the dataset is evaluated or recorded.
    """
    results = ancestry(a.dataset, provenance)
    if not results or a.any_cell is None:
        return None
    steps = steps_of(a, results=results, costs=costs)
    models = sorted({(m["model"], m["sha256"]) for p in results if (m := p["language_model"])})
    # the number that is traced: the reference's, or the first method's without results of it
    method = a.reference if a.reference in a.cells else a.methods[0]
    seed = min(a.cells[method])
    boxes = [
        *(step.box for step in steps),
        *(model_box(name, sha256) for name, sha256 in models),
        number_box(a, method, seed=seed, results=results),
    ]
    return {
        "dataset": a.dataset,
        "svg": flow_chart(f"Where the numbers of {a.dataset} come from", boxes).svg(),
        "steps": steps,
        "archives": archives_of(results),
        "models": models,
        "target": f"data/report/{METRICS}#{a.dataset}/{method}/{seed}/{a.metric}",
        "asked": f"{metric_title(a.metric)} of {title(method)} with seed {seed}",
        "dirty": any(p["dirty"] for p in results),
    }


def ancestry(dataset: str, provenance: Provenance) -> Provenance:
    """Keep the dataset's evaluations and every result that they were made from.

    A result was made from another one when it read a path with the hash that the other one wrote.
    """
    by_stage = {p["stage"]: p for p in provenance}
    makers = {output: p["stage"] for p in provenance for output in p["outs"].items()}
    found: set[str] = set()
    todo = evaluations(dataset, provenance)
    while todo:
        stage = todo.pop()
        if stage in found:
            continue
        found.add(stage)
        inputs = by_stage[stage]["deps"].items()
        todo += [makers[read] for read in inputs if read in makers]
    return [p for p in provenance if p["stage"] in found]


def evaluations(dataset: str, provenance: Provenance) -> list[str]:
    """List the stages whose results the report reads."""
    folder = f"data/evaluate/{dataset}/"
    return [p["stage"] for p in provenance if any(path.startswith(folder) for path in p["outs"])]


def verb_of(stage: str) -> str:
    """Return the part of a stage's name before the @, or "models" for one that makes a model."""
    name = stage.partition("@")[0]
    return MODELS if makes_model(name) else name


def archives_of(results: Provenance) -> dict[str, str]:
    """Collect the raw files that were fetched, with their sha256."""
    return {name: about["sha256"] for p in results for name, about in p["archives"].items()}


def steps_of(a: Analysis, *, results: Provenance, costs: Costs) -> list[DrawnStage]:
    """Fold the results of each verb into one step."""
    by_verb: dict[str, Provenance] = {}
    for p in results:
        by_verb.setdefault(verb_of(p["stage"]), []).append(p)
    makers = {output: verb_of(p["stage"]) for p in results for output in p["outs"].items()}
    steps = []
    for verb, members in by_verb.items():
        sources = sources_of(verb, members=members, makers=makers)
        steps.append(fold(a, verb, members=members, sources=sources, costs=costs))
    return steps


def sources_of(verb: str, *, members: Provenance, makers: dict[tuple[str, str], str]) -> list[str]:
    """List the other verbs and the language models that the results of one verb were made from."""
    sources = []
    for p in members:
        sources += [makers[read] for read in p["deps"].items() if read in makers]
    for p in members:
        if model := p["language_model"]:
            sources.append(model_name(model["model"], model["sha256"]))
    return [source for source in dict.fromkeys(sources) if source != verb]


def fold(
    a: Analysis, verb: str, *, members: Provenance, sources: list[str], costs: Costs
) -> DrawnStage:
    """Fold the results of one verb into one step."""
    runs = {p["stage"]: p["run_id"] for p in members}
    known_costs = [costs[stage]["seconds"] for stage in runs if stage in costs]
    time = seconds(sum(known_costs)) if known_costs else ""
    commits = sorted({p["commit"] for p in members if p["commit"]})
    lines = [
        *count_lines(a, list(runs)),
        time,
        runs_text(list(runs.values())),
        commits_text(commits, dirty=any(p["dirty"] for p in members)),
    ]
    tip = [f"{stage}: run {run or 'not known'}" for stage, run in runs.items()]
    tip += [f"commit {commit}" for commit in commits]
    box = Box(
        name=verb,
        heading=shortened(verb, 12),
        kind="ink",
        lines=[line for line in lines if line],
        tip="\n".join(tip),
        sources=sources,
        width=90 if len(verb) < 12 else 98,
    )
    archives = archives_of(members)
    if archives:
        box = raw_data_box(box, archives)
    return DrawnStage(verb=verb, box=box, sources=sources, time=time, runs=runs, commits=commits)


def raw_data_box(box: Box, archives: dict[str, str]) -> Box:
    """Add raw files and their sha256 to the box of the stage that fetched them."""
    lines = []
    for name, sha256 in list(archives.items())[:FILES_SHOWN]:
        lines += [shortened(name), f"sha256 {sha256[:12]}"]
    if len(archives) > FILES_SHOWN:
        lines.append(f"and {len(archives) - FILES_SHOWN} more")
    tip = "".join(f"{name}: sha256 {sha256}\n" for name, sha256 in archives.items())
    return replace(
        box,
        heading="raw data",
        kind="m2",
        lines=[*lines, *box.lines],
        tip=tip + box.tip,
        width=WIDE,
    )


def count_lines(a: Analysis, stages: Sequence[str]) -> list[str]:
    """Count the methods (or whatever else a verb was run for) and the seeds of some stages.

    A stage that makes a model is named after the method; others have the method after the @. What
    there is only one of is left out.
    """
    known = places(a.dataset, a.params.seeds)
    seeds = set()
    # a dictionary keeps the order
    parts: dict[str, None] = {}
    for stage in stages:
        name, _, _ = stage.partition("@")
        place = whole_stage(stage).partition("@")[2]
        seed, method = known.get(place, (None, place))
        seeds.add(seed)
        parts[name if verb_of(stage) != name else method or ""] = None
    lines = []
    if len(parts) > 1:
        of_methods = bool(parts.keys() & a.cells.keys())
        lines.append(f"{len(parts)} methods" if of_methods else shortened(", ".join(parts), 14))
    if len(seeds) > 1:
        times = "× " if lines else ""  # noqa: RUF001 - the multiplication sign
        lines.append(f"{times}{len(seeds)} seeds")
    return lines


def runs_text(runs: Sequence[str | None]) -> str:
    """Write the id of a single run, or the number of runs."""
    known = [run for run in runs if run]
    if not known:
        return "run not known"
    if len(known) < len(runs):
        return f"{len(known)} of {len(runs)} runs"
    return f"run {known[0][:7]}" if len(known) == 1 else f"{len(known)} runs"


def commits_text(commits: Sequence[str], *, dirty: bool) -> str:
    """Write a single commit, or the number of commits, with an asterisk for uncommitted changes."""
    if not commits:
        return ""
    asterisk = "*" if dirty else ""
    if len(commits) == 1:
        return f"git {commits[0][:7]}{asterisk}"
    return f"{len(commits)} commits{asterisk}"


def model_name(model: str, sha256: str) -> str:
    """Return the name of a language model's box."""
    return f"{model} {sha256[:12]}"


def model_box(model: str, sha256: str) -> Box:
    """Show the weights of a language model, which have no source."""
    return Box(
        name=model_name(model, sha256),
        heading="language model",
        kind="m5",
        lines=[shortened(model.rstrip("/").rpartition("/")[2]), f"sha256 {sha256[:12]}"],
        tip=f"{model}: sha256 {sha256}",
        width=WIDE,
    )


def number_box(a: Analysis, method: str, *, seed: int, results: Provenance) -> Box:
    """Show the number that is traced. Its tip lists the numbers of all methods and seeds."""
    label = metric_title(a.metric)
    values = [
        f"{title(m)}, seed {s}: {number(cell.metrics[a.metric])}"
        for m, cells in a.cells.items()
        for s, cell in cells.items()
    ]
    verbs = [verb_of(stage) for stage in evaluations(a.dataset, results)]
    return Box(
        name=METRICS,
        heading=number(a.cells[method][seed].metrics[a.metric]),
        kind="m3",
        lines=[label, shortened(title(method), 11), f"seed {seed}", METRICS],
        tip="\n".join([label, *values]),
        sources=list(dict.fromkeys(verbs)),
    )
