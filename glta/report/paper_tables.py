"""Write the numbers of the report as Markdown or LaTeX tables, for papers and documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from glta.evaluation.metrics import NEW_GROUPS
from glta.report.analysis import Analysis, Tested, shares_of_best
from glta.report.known import base_of, change_text, is_ablation, places, title, training_stages
from glta.report.wording import NONE, group_title, metric_title, p_cell, signed, size

Costs = Mapping[str, Mapping[str, float]]
"""By stage: seconds, peak_memory_bytes, and for recommend seconds_per_1000_lists."""

Means = Mapping[str, tuple[float | None, float | None]]
"""By method: mean and standard deviation over seeds, None where there is none."""

LETTERS = {"precision": "P", "recall": "R", "ndcg": "N"}
"""Metrics of the accuracy table, with their letters in its headings."""


class PaperTable(NamedTuple):
    """Hold a table as text. The first column names the row.

    best: cells (row, column) that are set in bold.
    """

    caption: str
    headings: list[str]
    rows: list[list[str]]
    best: frozenset[tuple[int, int]] = frozenset()

    def as_dict(self) -> dict[str, Any]:
        """Return {"caption", "rows"}; each row is {heading: text of the cell}."""
        rows = [dict(zip(self.headings, row, strict=True)) for row in self.rows]
        return {"caption": self.caption, "rows": rows}

    def markdown(self) -> str:
        """Write the table as Markdown, with its caption above it."""
        cells = [
            [self._markdown_cell(r, column) for column in range(len(row))]
            for r, row in enumerate(self.rows)
        ]
        lines = [self.headings, ["---"] * len(self.headings), *cells]
        return "\n".join([self.caption, "", *(f"| {' | '.join(line)} |" for line in lines)])

    def _markdown_cell(self, row: int, column: int) -> str:
        text = self.rows[row][column]
        return f"**{text}**" if (row, column) in self.best else text

    def latex(self) -> str:
        """Write the table as a LaTeX `table`, which needs the package booktabs."""
        cells = [
            [self._latex_cell(r, column) for column in range(len(row))]
            for r, row in enumerate(self.rows)
        ]
        headings = [escaped(heading) for heading in self.headings]
        heading_line, *lines = [rf"{' & '.join(line)} \\" for line in [headings, *cells]]
        alignment = "l" + "r" * (len(self.headings) - 1)
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{escaped(self.caption)}}}",
                rf"\begin{{tabular}}{{{alignment}}}",
                r"\toprule",
                heading_line,
                r"\midrule",
                *lines,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
            ]
        )

    def _latex_cell(self, row: int, column: int) -> str:
        text = escaped(self.rows[row][column])
        return rf"\textbf{{{text}}}" if (row, column) in self.best else text


def escaped(text: str) -> str:
    """Replace the characters that LaTeX would read as commands."""
    for mark, written in (("\\", r"\textbackslash "), ("−", "$-$"), ("±", r"$\pm$"), ("–", "--")):  # noqa: RUF001
        text = text.replace(mark, written)
    for mark in "_%&#":
        text = text.replace(mark, rf"\{mark}")
    return text.replace("<", "$<$").replace(">", "$>$")


def decimal(value: float | None, spread: float | None = None) -> str:
    """Write a value of at most 1 with four digits and its standard deviation: .1234 ±.0056."""
    if value is None:
        return NONE
    mean = f"{value:.4f}".removeprefix("0")
    if spread is None:
        return mean
    return f"{mean} ±" + f"{spread:.4f}".removeprefix("0")


def tables(a: Analysis, costs: Costs | None) -> list[PaperTable]:
    """Make the tables of one dataset. Tables without rows are left out."""
    made = [
        accuracy_table(a),
        comparison_table(a),
        group_table(a),
        ablation_table(a),
        cost_table(a, costs or {}),
    ]
    return [table for table in made if table.rows]


def written(tables: Iterable[PaperTable], form: str) -> str:
    """Write tables one below the other. form: markdown, latex or json."""
    if form == "json":
        content = [table.as_dict() for table in tables]
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    texts = [table.markdown() if form == "markdown" else table.latex() for table in tables]
    return "\n\n".join(texts) + "\n"


def overview_tables(analyses: Sequence[Analysis]) -> list[PaperTable]:
    """Make one table of the report's metric with a column for each dataset.

    Empty for a single dataset.
    """
    found = [a for a in analyses if a.cells]
    if len(found) < 2:
        return []
    first = found[0]
    columns = [means(a, first.metric) for a in found]
    rows, best = scored(list(shares_of_best(found)), columns)
    headings = ["method", *(a.dataset for a in found)]
    return [
        PaperTable(f"Test {metric_title(first.metric)}, {mean_text(first)}", headings, rows, best)
    ]


def whole_methods(a: Analysis) -> list[str]:
    """List the evaluated methods without ablations."""
    return [method for method in a.methods if not is_ablation(method)]


def means(a: Analysis, metric: str) -> Means:
    """Collect each method's mean and standard deviation over seeds, ablations left out."""
    return {m: (a.mean(m, metric), a.spread(m, metric)) for m in whole_methods(a)}


def scored(
    methods: Sequence[str], columns: Sequence[Means]
) -> tuple[list[list[str]], frozenset[tuple[int, int]]]:
    """Write one row for each method, and find the highest means of each column.

    Returns rows, and cells (row, column) of the highest means.
    """
    unknown = (None, None)
    rows = []
    for method in methods:
        cells = [decimal(*column.get(method, unknown)) for column in columns]
        rows.append([title(method), *cells])
    best = set()
    for place, column in enumerate(columns, 1):
        known = [mean for mean, _ in column.values() if mean is not None]
        for row, method in enumerate(methods):
            mean, _ = column.get(method, unknown)
            if mean is not None and mean == max(known):
                best.add((row, place))
    return rows, frozenset(best)


def mean_text(a: Analysis) -> str:
    """Write which seeds the means run over."""
    seeds = a.params.seeds
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"mean ± standard deviation over {len(seeds)} seeds"


def accuracy_table(a: Analysis) -> PaperTable:
    """Show precision, recall and NDCG at every cut-off, with standard deviations over seeds."""
    columns = {
        f"{letter}@{k}": means(a, f"{name}@{k}")
        for name, letter in LETTERS.items()
        for k in a.cutoffs
    }
    rows, best = scored(whole_methods(a), list(columns.values()))
    return PaperTable(f"{a.dataset}: test, {mean_text(a)}", ["method", *columns], rows, best)


def comparison_cells(test: Tested) -> list[str]:
    """Write a comparison: difference and interval, corrected p, effect and interval."""
    v = test.values
    return [
        f"{signed(v.difference)} ({signed(v.low)} to {signed(v.high)})",
        p_cell(test.corrected_p),
        f"{signed(v.effect, 2)} ({signed(v.effect_low, 2)} to {signed(v.effect_high, 2)})",
    ]


def comparison_table(a: Analysis) -> PaperTable:
    """Compare the report's reference with every other method in the report's metric."""
    num_tests = sum(len(tests) for tests in a.tests.values())
    caption = (
        f"{a.dataset}: {title(a.reference)} minus the other method, {metric_title(a.metric)} per "
        f"user, {a.params.report.confidence:.0%} intervals. p: sign-flip randomisation test, "
        f"corrected by Holm over all {num_tests} comparisons of the dataset. Effect: Cohen's d_z"
    )
    rows = [
        [title(method), *comparison_cells(tests[a.metric])]
        for method, tests in a.tests.items()
        if not is_ablation(method)
    ]
    return PaperTable(caption, ["other", "difference", "p", "effect"], rows)


def group_table(a: Analysis) -> PaperTable:
    """Show the report's metric of cold and warm users, and within cold and warm items."""
    options = a.params.evaluate
    groups = ["cold_users", "warm_users", "cold_items", "warm_items"]
    # without this share only a few items are new, by chance, and their mean says little
    if a.params.prepare.new_item_share:
        groups += NEW_GROUPS
    columns: dict[str, Means] = {}
    for group in groups:
        # no spread: in a small group it says little
        column = {m: (mean, None) for m, (mean, _) in means(a, f"{group}/{a.metric}").items()}
        if any(mean is not None for mean, _ in column.values()):
            columns[group_title(group)] = column
    rows, best = scored(whole_methods(a), list(columns.values()))
    caption = (
        f"{a.dataset}: {metric_title(a.metric)} by group. Cold users have at most "
        f"{options.cold_user_items} training items, cold items at most "
        f"{options.cold_item_users} training users"
    )
    return PaperTable(caption, ["method", *columns], rows if columns else [], best)


def ablation_table(a: Analysis) -> PaperTable:
    """Compare each ablation with the method that it changes."""
    label = metric_title(a.metric)
    rows = []
    for base in dict.fromkeys(base_of(method) for method in a.ablation_tests):
        rows.append([title(base), "", decimal(a.mean(base, a.metric)), "", "", ""])
        for method, test in a.ablation_tests.items():
            if base_of(method) == base:
                mean = decimal(a.mean(method, a.metric))
                rows.append([title(method), change_text(method), mean, *comparison_cells(test)])
    caption = (
        f"{a.dataset}: method minus ablation, {label}. p: corrected by Holm over the ablations"
    )
    headings = ["ablation", "changed parameters", label, "difference", "p", "effect"]
    return PaperTable(caption, headings, rows)


def cost_table(a: Analysis, costs: Costs) -> PaperTable:
    """Show what each method costs beyond the stages that all methods share.

    Training is the mean over seeds of the method's stages (`glta.report.known.training_stages`).
    Lists are measured on the stage recommend.
    """
    headings = ["method", "training", "peak memory", "trainable parameters", "1,000 lists"]
    rows = [method_cost(a, method, costs) for method in whole_methods(a)] if costs else []
    shared = [
        costs[stage]["seconds"]
        for seed in a.params.seeds
        if (stage := f"profile@{a.dataset}-{seed}") in costs
    ]
    profile = f" ({sum(shared) / len(shared):,.0f} s, once for all methods)" if shared else ""
    caption = (
        f"{a.dataset}: cost of one seed. Training: the stages that the method needs after prepare "
        f"and profile{profile}, with the start of the processes. 1,000 lists: ranking alone, "
        f"over the validation and test lists. {whole_cost_text(a, costs)}"
    )
    return PaperTable(caption, headings, rows)


def method_cost(a: Analysis, method: str, costs: Costs) -> list[str]:
    """Write the row of one method. A seed counts when all its stages have a known cost."""
    spent = []
    peaks = []
    per_list = []
    for seed in a.cells[method]:
        name = f"{a.dataset}-{seed}"
        stages = [stage.format(cell=name) for stage in training_stages(method)]
        if all(stage in costs for stage in stages):
            spent.append(sum(costs[stage]["seconds"] for stage in stages))
            peaks.append(max(costs[stage]["peak_memory_bytes"] for stage in stages))
        lists = costs.get(f"recommend@{name}-{method}", {})
        if "seconds_per_1000_lists" in lists:
            per_list.append(lists["seconds_per_1000_lists"])
    return [
        title(method),
        f"{sum(spent) / len(spent):,.0f} s" if spent else NONE,
        size(max(peaks)) if peaks else NONE,
        parameter_text(a, method),
        f"{sum(per_list) / len(per_list):.2f} s" if per_list else NONE,
    ]


def parameter_text(a: Analysis, method: str) -> str:
    """Write the number of trainable parameters of a method's first seed."""
    first = next(iter(a.cells[method].values()))
    count = (first.summary.get("model") or {}).get("trainable_parameters")
    return NONE if count is None else f"{count:,}"


def whole_cost_text(a: Analysis, costs: Costs) -> str:
    """Write the cost of all stages of a dataset together."""
    own = places(a.dataset, a.params.seeds)
    every = [cost for stage, cost in costs.items() if stage.partition("@")[2] in own]
    minutes = f"{sum(cost['seconds'] for cost in every) / 60:,.0f} min" if every else NONE
    largest = size(max(cost["peak_memory_bytes"] for cost in every)) if every else NONE
    return f"All stages of the dataset, one after the other: {minutes}; the largest took {largest}"
