"""Tables for papers and documents: what the report shows, as Markdown or LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from glta.ablations import ABLATIONS, ablation_text
from glta.evaluation.metrics import NEW_GROUPS
from glta.report.analysis import Analysis, Tested, metric_title, p_text, signed, title
from glta.report.view import NONE, size

ON_THE_GRAPH = ("lightgcn", "lightgcn-text-knn", "glta-plus")
"""Methods of the stage `fit` that start from the stage `pretrain`."""

Costs = Mapping[str, Mapping[str, float]]
"""By stage: seconds, peak_memory_bytes."""

Means = Mapping[str, tuple[float | None, float | None]]
"""By method: mean and standard deviation over seeds; None where it is not known."""


class Table(NamedTuple):
    """Rows of text below a caption and headings; the first column names the row.

    best: cells (row, column), set in bold.
    """

    caption: str
    headings: list[str]
    rows: list[list[str]]
    best: frozenset[tuple[int, int]] = frozenset()

    def markdown(self) -> str:
        cells = [
            [f"**{c}**" if (r, n) in self.best else c for n, c in enumerate(row)]
            for r, row in enumerate(self.rows)
        ]
        lines = [self.headings, ["---"] * len(self.headings), *cells]
        return "\n".join([self.caption, "", *(f"| {' | '.join(line)} |" for line in lines)])

    def latex(self) -> str:
        """Return a `table` that needs the package booktabs."""
        cells = [
            [
                rf"\textbf{{{escaped(c)}}}" if (r, n) in self.best else escaped(c)
                for n, c in enumerate(row)
            ]
            for r, row in enumerate(self.rows)
        ]
        lines = [rf"{' & '.join(line)} \\" for line in [list(map(escaped, self.headings)), *cells]]
        body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
        columns = "l" + "r" * (len(self.headings) - 1)
        return (
            f"\\begin{{table}}\n\\caption{{{escaped(self.caption)}}}\n\\begin{{tabular}}{{{columns}}}\n{body}\n"
            "\\end{tabular}\n\\end{table}"
        )


def escaped(text: str) -> str:
    """Write what LaTeX would read as a command."""
    for mark, written in (("\\", r"\textbackslash "), ("−", "$-$"), ("±", r"$\pm$"), ("–", "--")):  # noqa: RUF001
        text = text.replace(mark, written)
    for mark in "_%&#":
        text = text.replace(mark, rf"\{mark}")
    return text.replace("<", "$<$").replace(">", "$>$")


def decimal(value: float | None, spread: float | None = None) -> str:
    """Write a share to four digits, as .1234, with its spread."""
    if value is None:
        return NONE
    return f"{value:.4f}".removeprefix("0") + (
        "" if spread is None else " ±" + f"{spread:.4f}".removeprefix("0")
    )


def tables(a: Analysis, costs: Costs | None) -> list[Table]:
    """Make the tables of one dataset; those without any row are left out."""
    made = [accuracy(a), comparisons(a), groups(a), ablations(a), cost(a, costs or {})]
    return [table for table in made if table.rows]


def overview(analyses: Sequence[Analysis]) -> list[Table]:
    """Mean over seeds of the report's metric, a column a dataset; no table for a single dataset."""
    found = [a for a in analyses if a.cells]
    if len(found) < 2:
        return []
    first, metric = found[0], found[0].params.report.metric
    methods = [
        m for m in first.params.methods if m not in ABLATIONS and any(m in a.cells for a in found)
    ]
    rows, best = scored(methods, [means(a, metric) for a in found])
    return [
        Table(
            f"Test {metric_title(metric)}, {mean_of(first)}",
            ["method", *(a.dataset for a in found)],
            rows,
            best,
        )
    ]


def means(a: Analysis, metric: str) -> Means:
    return {m: (a.mean(m, metric), a.spread(m, metric)) for m in a.methods if m not in ABLATIONS}


def scored(
    methods: Sequence[str], columns: Sequence[Means]
) -> tuple[list[list[str]], frozenset[tuple[int, int]]]:
    """Write a row a method; the best cells are the highest means of their columns."""
    rows = [
        [title(m), *(decimal(*column.get(m, (None, None))) for column in columns)] for m in methods
    ]
    highest = [
        max((mean for mean, _ in column.values() if mean is not None), default=None)
        for column in columns
    ]
    best = {
        (r, n)
        for n, (column, top) in enumerate(zip(columns, highest, strict=True), 1)
        for r, m in enumerate(methods)
        if top is not None and m in column and column[m][0] == top
    }
    return rows, frozenset(best)


def mean_of(a: Analysis) -> str:
    """Say what the numbers are means of."""
    count = len(a.params.seeds)
    return (
        f"seed {a.params.seeds[0]}"
        if count == 1
        else f"mean ± standard deviation over {count} seeds"
    )


def accuracy(a: Analysis) -> Table:
    """Mean over seeds of every accuracy metric, with the standard deviation over seeds where there
    are several.
    """
    names = {"precision": "P", "recall": "R", "ndcg": "N"}
    columns = {
        f"{letter}@{k}": means(a, f"{name}@{k}")
        for name, letter in names.items()
        for k in a.cutoffs
    }
    rows, best = scored([m for m in a.methods if m not in ABLATIONS], list(columns.values()))
    return Table(f"{a.dataset}: test, {mean_of(a)}", ["method", *columns], rows, best)


def tested(test: Tested) -> list[str]:
    """Write a comparison: difference and interval, corrected p, effect and interval."""
    c = test.values
    effect = f"{signed(c.effect, 2)} ({signed(c.effect_low, 2)} to {signed(c.effect_high, 2)})"
    p = p_text(test.corrected_p).removeprefix("p ").removeprefix("= ")
    return [f"{signed(c.difference)} ({signed(c.low)} to {signed(c.high)})", p, effect]


def comparisons(a: Analysis) -> Table:
    """Compare the report's reference with every other method in the report's metric."""
    reference, metric = a.params.report.reference, a.params.report.metric
    count, share = sum(map(len, a.tests.values())), f"{a.params.report.confidence:.0%}"
    caption = (
        f"{a.dataset}: {title(reference)} minus the other, {metric_title(metric)} per user, "
        f"{share} intervals; p by sign "
        f"flips, after Holm over all {count} comparisons of the dataset; effect: Cohen's d_z"
    )
    rows = [[title(m), *tested(t[metric])] for m, t in a.tests.items() if m not in ABLATIONS]
    return Table(caption, ["other", "difference", "p", "effect"], rows)


def groups(a: Analysis) -> Table:
    """Mean of the report's metric over cold and warm users, and of the lists cut down to cold and
    warm items.
    """
    metric, options = a.params.report.metric, a.params.evaluate
    new = (
        NEW_GROUPS if a.params.prepare.new_item_share else ()
    )  # the few that are new by chance are no group
    names = ("cold_users", "warm_users", "cold_items", "warm_items", *new)
    columns = {name.replace("_", " "): means(a, f"{name}/{metric}") for name in names}
    columns = {
        name: {
            m: (mean, None) for m, (mean, _) in column.items()
        }  # a spread of what few users have says little
        for name, column in columns.items()
        if any(mean is not None for mean, _ in column.values())
    }
    rows, best = scored([m for m in a.methods if m not in ABLATIONS], list(columns.values()))
    caption = (
        f"{a.dataset}: {metric_title(metric)} by group; cold users have at most "
        f"{options.cold_user_items} training items, "
        f"cold items at most {options.cold_item_users} training users"
    )
    return Table(caption, ["method", *columns], rows if columns else [], best)


def ablations(a: Analysis) -> Table:
    """Compare GLTA with its ablations."""
    metric = a.params.report.metric
    rows = [
        [title(m), ablation_text(m), decimal(a.mean(m, metric)), *tested(t)]
        for m, t in a.ablation_tests.items()
    ]
    if rows:
        rows.insert(0, [title("glta"), "", decimal(a.mean("glta", metric)), "", "", ""])
    caption = (
        f"{a.dataset}: GLTA minus its ablations, {metric_title(metric)}; p after Holm over "
        "the ablations"
    )
    return Table(
        caption, ["form", "parameters", metric_title(metric), "difference", "p", "effect"], rows
    )


def training_stages(method: str, dataset: str, seed: int) -> list[str]:
    """Name the stages that train a method, from the graph on; not those that every method shares:
    prepare and profile.
    """
    cell = f"{dataset}-{seed}"
    if method == "glta":
        return [
            f"pretrain@{cell}-all",
            f"pretrain@{cell}-graph",
            f"align_items@{cell}",
            f"align_users@{cell}",
        ]
    return ([f"pretrain@{cell}-all"] if method in ON_THE_GRAPH else []) + [f"fit@{cell}-{method}"]


def cost(a: Analysis, costs: Costs) -> Table:
    """What a method costs beyond prepare and profile: mean over seeds of its training stages, and
    of making all lists.
    """
    rows = []
    for method, cells in a.cells.items():
        if method in ABLATIONS:
            continue
        spent, peaks, per_list = [], [], []
        for seed, cell in cells.items():
            stages = training_stages(method, a.dataset, seed)
            if all(stage in costs for stage in stages):
                spent.append(sum(costs[stage]["seconds"] for stage in stages))
                peaks.append(max(costs[stage]["peak_memory_bytes"] for stage in stages))
            lists = costs.get(f"recommend@{a.dataset}-{seed}-{method}")
            if lists:
                per_list.append(1000 * lists["seconds"] / (2 * cell.users.height))
        model = next(iter(cells.values())).summary.get("model") or {}
        count = model.get("trainable_parameters")
        rows.append(
            [
                title(method),
                f"{sum(spent) / len(spent):,.0f} s" if spent else NONE,
                size(max(peaks)) if peaks else NONE,
                NONE if count is None else f"{count:,}",
                f"{sum(per_list) / len(per_list):.2f} s" if per_list else NONE,
            ]
        )
    shared = [
        costs[stage]["seconds"]
        for seed in a.params.seeds
        if (stage := f"profile@{a.dataset}-{seed}") in costs
    ]
    profile = f" ({sum(shared) / len(shared):,.0f} s, for all methods together)" if shared else ""
    own = re.compile(rf"\w+@{re.escape(a.dataset)}(-({'|'.join(map(str, a.params.seeds))})(-.+)?)?")
    every = [spent for stage, spent in costs.items() if own.fullmatch(stage)]
    whole = f"{sum(c['seconds'] for c in every) / 60:,.0f} min" if every else NONE
    most = size(max(c["peak_memory_bytes"] for c in every)) if every else NONE
    caption = (
        f"{a.dataset}: cost of a seed, start of the processes included. Training: the stages that "
        "the method needs after "
        f"prepare and profile{profile}; 1,000 lists: the stage recommend, over its validation and "
        "test lists. "
        f"All stages of the dataset, one after the other: {whole}; the largest took {most}"
    )
    return Table(
        caption,
        ["method", "training", "peak memory", "trainable parameters", "1,000 lists"],
        rows if costs else [],
    )


def written(found: Iterable[Table], form: str) -> str:
    """Write tables one below the other. form: markdown or latex."""
    return (
        "\n\n".join(table.markdown() if form == "markdown" else table.latex() for table in found)
        + "\n"
    )
