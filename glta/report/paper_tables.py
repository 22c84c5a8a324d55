"""Write the numbers of the report as Markdown or LaTeX tables, for papers and documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from glta.evaluation.metrics import NEW_GROUPS
from glta.evaluation.significance import Comparison
from glta.report.across_datasets import compared_across, with_results
from glta.report.analysis import Analysis, Tested, shares_of_best
from glta.report.known import (
    base_of,
    change_text,
    is_ablation,
    places,
    shards_beside,
    title,
    training_stages,
    whole_stage,
)
from glta.report.protocol_words import protocol_text
from glta.report.wording import (
    NONE,
    NOT_TESTED,
    covers_text,
    group_title,
    metric_title,
    number,
    p_cell,
    signed,
    size,
)

Costs = Mapping[str, Mapping[str, float]]
"""By stage: seconds, peak_memory_bytes, and for recommend seconds_per_1000_lists."""

LETTERS = {"precision": "P", "recall": "R", "ndcg": "N"}
"""Metrics of the accuracy table, with their letters in its headings."""


class Mean(NamedTuple):
    """Hold a mean and a standard deviation over seeds, None where there is none."""

    value: float | None = None
    spread: float | None = None
    seeds: tuple[int, ...] = ()


Means = Mapping[str, Mean]
"""By method."""


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


IN_LATEX = str.maketrans(
    {mark: rf"\{mark}" for mark in "_%&#${}"}
    | {"<": "$<$", ">": "$>$", "−": "$-$", "±": r"$\pm$", "–": "--"}  # noqa: RUF001
    # braces end a command, so that a space after it stays
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
)
"""What stands in LaTeX for a character that it would read as a command."""


def escaped(text: str) -> str:
    """Replace the characters that LaTeX would read as commands."""
    # all at once, as what one is replaced by has others of them
    return text.translate(IN_LATEX)


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
    """Make the tables of several datasets: the report's metric, and tests over all of them.

    Empty for a single dataset.
    """
    found = with_results(analyses)
    if len(found) < 2:
        return []
    first = found[0]
    columns = [means(a, first.metric) for a in found]
    rows, best = scored({m: title(m) for m in shares_of_best(found)}, columns)
    for row, method in zip(rows, shares_of_best(found), strict=True):
        for place, a in enumerate(found, 1):
            row[place] += a.seeds_note(a.cells.get(method, a.splits))
    headings = ["method", *(a.dataset for a in found)]
    over = {mean_text(a): None for a in found}
    if len(over) > 1:
        over = {f"{a.dataset}: {mean_text(a)}": None for a in found}
    caption = f"Test {metric_title(first.metric)}, {'; '.join(over)}. {bold_text(columns)}"
    made = [PaperTable(caption, headings, rows, best), across_table(found)]
    return [table for table in made if table.rows]


def across_table(analyses: Sequence[Analysis]) -> PaperTable:
    """Compare the report's reference with every other method over all datasets together."""
    found = with_results(analyses)
    first = found[0]
    compared = compared_across(found)
    num_tests = sum(across.test is not None for across in compared.values())
    caption = (
        f"All {len(found)} datasets together: {title(first.reference)} minus the other method, "
        f"{metric_title(first.metric)}. Each dataset counts alike: difference and effect d_z are "
        f"means over the datasets. Intervals ({first.params.report.confidence:.0%}): bootstrap "
        f"over users within each dataset. They say nothing about other datasets or another "
        f"training. p: sign flips of users within each dataset, corrected by Holm over these "
        f"{num_tests} tests. A method that was not evaluated on every dataset is left out"
        + not_tested_text({m: across.reason for m, across in compared.items()})
    )
    rows = []
    for method, across in compared.items():
        difference, p, effect = comparison_cells(across.values, across.test)
        pair = (first.reference, method, [first.metric])
        fewer = [a.dataset for a in found if a.seeds_note(a.shared_seeds(*pair))]
        note = f" (fewer seeds on {', '.join(fewer)})" if fewer else ""
        rows.append([title(method) + note, difference, f"{across.wins} of {len(found)}", p, effect])
    return PaperTable(caption, ["other", "difference", "higher on", "p", "effect"], rows)


def not_tested_text(reasons: Mapping[str, str]) -> str:
    """End a caption with the methods that are not tested. reasons: by method, "" for tested."""
    named = [f"{title(method)} ({reason})" for method, reason in reasons.items() if reason]
    return f". Not tested, because not at their best: {'; '.join(named)}" if named else ""


def whole_methods(a: Analysis) -> list[str]:
    """List the evaluated methods without ablations."""
    return [method for method in a.methods if not is_ablation(method)]


def named_methods(a: Analysis) -> dict[str, str]:
    """Name the same methods as rows do: a note says so where a method has fewer seeds."""
    return {method: a.named(method) for method in whole_methods(a)}


def means(a: Analysis, metric: str) -> Means:
    """Collect each method's mean and standard deviation over seeds, ablations left out."""
    return {
        m: Mean(a.mean(m, metric), a.spread(m, metric), tuple(a.seeds_with(m, metric)))
        for m in whole_methods(a)
    }


def scored(
    names: Mapping[str, str], columns: Sequence[Means]
) -> tuple[list[list[str]], frozenset[tuple[int, int]]]:
    """Write one row for each method, and find the highest means of each column.

    names: what the row begins with, by method. Returns rows, and cells (row, column) of the highest
    means, none in a column of `has_one_set` false.
    """
    rows = []
    for method, name in names.items():
        found = [column.get(method, Mean()) for column in columns]
        rows.append([name, *(decimal(mean.value, mean.spread) for mean in found)])
    best = set()
    for place, column in enumerate(columns, 1):
        if has_one_set(column):
            known = [mean.value for mean in column.values() if mean.value is not None]
            for row, method in enumerate(names):
                value = column.get(method, Mean()).value
                if value is not None and value == max(known):
                    best.add((row, place))
    return rows, frozenset(best)


def has_one_set(column: Means) -> bool:
    """Tell whether all means run over the same seeds. Others cannot be compared."""
    return len({mean.seeds for mean in column.values() if mean.seeds}) <= 1


def bold_text(columns: Iterable[Means]) -> str:
    """Write what is bold."""
    same = all(map(has_one_set, columns))
    return "Bold: highest on test" + ("" if same else "; nothing where methods have other seeds")


def mean_text(a: Analysis) -> str:
    """Write which seeds the means run over."""
    seeds = [*a.splits]
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    fewer = any(map(a.seeds_note, a.cells.values()))
    return f"mean ± standard deviation over {len(seeds)} seeds" + (
        ", where no other number is named" if fewer else ""
    )


def accuracy_table(a: Analysis) -> PaperTable:
    """Show precision, recall and NDCG at every cut-off, with standard deviations over seeds."""
    columns = {
        f"{letter}@{k}": means(a, f"{name}@{k}")
        for name, letter in LETTERS.items()
        for k in a.cutoffs
    }
    rows, best = scored(named_methods(a), list(columns.values()))
    protocol = protocol_text(a.summary.get("counts") or {}).removesuffix(".")
    caption = f"{a.dataset}: test, {mean_text(a)}. {bold_text(columns.values())}"
    caption += f". {protocol}" if protocol else ""
    return PaperTable(caption, ["method", *columns], rows, best)


def comparison_cells(values: Comparison, test: Tested | None) -> list[str]:
    """Write a comparison: difference and interval, corrected p, effect and interval."""
    low, high = signed(values.effect_low, 2), signed(values.effect_high, 2)
    return [
        f"{signed(values.difference)} ({signed(values.low)} to {signed(values.high)})",
        NOT_TESTED if test is None else p_cell(test.corrected_p),
        f"{signed(values.effect, 2)} ({low} to {high})",
    ]


def paired_row(
    a: Analysis, pair: tuple[str, str], values: Comparison, test: Tested | None
) -> list[str]:
    """Write the cells of a comparison, with the spread of the difference over seeds."""
    difference, p, effect = comparison_cells(values, test)
    return [difference, number(a.difference_spread(*pair, a.metric)), p, effect]


PAIRED_HEADINGS = ["difference", "± over seeds", "p", "effect"]
"""Headings of `paired_row`."""


def comparison_table(a: Analysis) -> PaperTable:
    """Compare the report's reference with every other method in the report's metric."""
    rival = f"On validation, {title(a.rival)} is the best of them. " if a.rival else ""
    caption = (
        f"{a.dataset}: {title(a.reference)} minus the other method, {metric_title(a.metric)} per "
        f"user, {a.params.report.confidence:.0%} intervals. {rival}p: sign-flip randomisation "
        f"test with {a.params.report.flips:,} flips, corrected by Holm over these {len(a.tests)} "
        f"tests. Effect: Cohen's d_z. {covers_text(len(a.splits))}".removesuffix(".")
        + not_tested_text({m: a.why_untested(m) for m in a.comparisons})
    )
    rows = [
        [
            title(m) + a.seeds_note(a.shared_seeds(a.reference, m, [a.metric])),
            *paired_row(a, (a.reference, m), values[a.metric], a.tests.get(m)),
        ]
        for m, values in a.comparisons.items()
    ]
    return PaperTable(caption, ["other", *PAIRED_HEADINGS], rows)


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
        found = means(a, f"{group}/{a.metric}")
        column = {m: mean._replace(spread=None) for m, mean in found.items()}
        if any(mean.value is not None for mean in column.values()):
            columns[group_title(group)] = column
    rows, best = scored(named_methods(a), list(columns.values()))
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
    for base in dict.fromkeys(base_of(method) for method in a.ablation_comparisons):
        rows.append([a.named(base), "", decimal(a.mean(base, a.metric)), "", "", "", ""])
        for method, values in a.ablation_comparisons.items():
            if base_of(method) == base:
                mean = decimal(a.mean(method, a.metric))
                cells = paired_row(a, (base, method), values, a.ablation_tests.get(method))
                rows.append([a.named(method), change_text(method), mean, *cells])
    caption = (
        f"{a.dataset}: method minus ablation, {label}. p: corrected by Holm over these "
        f"{len(a.ablation_tests)} tests of ablations"
    )
    headings = ["ablation", "changed parameters", label, *PAIRED_HEADINGS]
    return PaperTable(caption, headings, rows)


def cost_table(a: Analysis, costs: Costs) -> PaperTable:
    """Show what each method costs beyond the stages that all methods share.

    Training is the mean over seeds of the method's stages (`glta.report.known.training_stages`).
    Lists are measured on the stage recommend. Shards count as the stage that they stand for.
    """
    costs = whole_costs(costs)
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


def whole_costs(costs: Costs) -> Costs:
    """Add up the costs of shards: seconds are summed, the highest memory is taken.

    Seconds for 1,000 lists are averaged over all lists. A stage is left out unless the costs of all
    its shards and of their join are known.
    """
    found: dict[str, list[Mapping[str, float]]] = {}
    for stage, cost in costs.items():
        if all(name in costs for name in shards_beside(stage)):
            found.setdefault(whole_stage(stage), []).append(cost)
    return {stage: _together(parts) for stage, parts in found.items()}


def _together(parts: list[Mapping[str, float]]) -> dict[str, float]:
    """Return the cost of several stages, see `whole_costs`."""
    peaks = [part["peak_memory_bytes"] for part in parts if "peak_memory_bytes" in part]
    measured = [part for part in parts if "seconds_per_1000_lists" in part]
    cost = {"seconds": sum(part["seconds"] for part in parts)}
    if peaks:
        cost["peak_memory_bytes"] = max(peaks)
    if measured:
        cost["seconds_per_1000_lists"] = fmean(
            [part["seconds_per_1000_lists"] for part in measured],
            [part.get("lists", 1) for part in measured],
        )
    return cost


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
