"""Turn an analysis into the rows and words that the template prints."""

from __future__ import annotations

from typing import Any

from glta.evaluation.metrics import ACCURACY, BEYOND_ACCURACY
from glta.evaluation.significance import Comparison
from glta.pictures.svg import Drawing
from glta.report.analysis import Analysis, Tested
from glta.report.draw.marks import key, mark_number
from glta.report.known import base_of, change_text, title
from glta.report.page.card import card, card_view
from glta.report.page.exhibits import exhibits_view
from glta.report.paper_tables import parameter_text
from glta.report.protocol_words import protocol_text
from glta.report.verdict import verdict
from glta.report.wording import (
    NONE,
    NOT_TESTED,
    covers_text,
    group_title,
    metric_title,
    number,
    p_cell,
    seconds,
    signed,
    size,
)

MARKS = {1: "▲", -1: "▼", 0: ""}
"""Marks of values that are significantly better or worse than the reference's, or neither."""


def dataset_view(a: Analysis, drawn: dict[str, Drawing]) -> dict[str, Any]:
    """Gather what the sections about one dataset show. drawn: its figures by name."""
    cell = a.any_cell
    described = card_view(card(a))
    return {
        "name": a.dataset,
        "synthetic": bool(described["source"].get("synthetic")),
        "verdict": verdict(a),
        "protocol": protocol_text(a.summary.get("counts") or {}),
        "metric": metric_title(a.metric),
        "reference": title(a.reference),
        "confidence": f"{a.params.report.confidence:.0%}",
        "alpha": f"{a.alpha:.2g}",
        "seeds": a.params.seeds,
        "cutoffs": a.cutoffs,
        "missing": [f"{title(method)} (seed {seed})" for method, seed in a.missing],
        "evaluated": cell is not None,
        "num_users": cell.users.height if cell else 0,
        "headings": [definition.title for definition in ACCURACY.values()],
        "results": [_results(a, k) for k in a.cutoffs],
        "comparisons": _comparisons(a),
        "num_tests": len(a.tests),
        "flips": f"{a.params.report.flips:,}",
        "rival": title(a.rival) if a.rival else "",
        "not_tuned": {title(m): why for m, why in a.not_tuned.items() if m in a.cells},
        "covers": covers_text(len(a.splits)),
        "ablations": _ablations(a),
        "num_ablation_tests": len(a.ablation_tests),
        "beyond": _beyond(a),
        "groups": _groups(a),
        "new_items": _new_items(a),
        "group_sizes": a.summary.get("groups", {}),
        "options": a.params.evaluate,
        "key": key(a),
        "figures": {name: drawing.svg() for name, drawing in drawn.items()},
        "curves": [drawing.svg() for name, drawing in drawn.items() if name.startswith("curve-")],
        "no_curves": _methods_without_history(a),
        "exhibits": exhibits_view(a),
        "models": [_method(a, m) | {"parameters": parameter_text(a, m)} for m in a.methods],
        "card": described,
    }


def _method(a: Analysis, method: str) -> dict[str, Any]:
    """Return what every row of a method begins with."""
    return {
        "title": a.named(method),
        "mark": mark_number(a, method),
        "reference": method == a.reference,
        "not_tuned": method in a.not_tuned,
    }


def _methods_without_history(a: Analysis) -> list[str]:
    return [
        title(method)
        for method, cells in a.cells.items()
        if not any(cell.summary.get("history") for cell in cells.values())
    ]


def _results(a: Analysis, k: int) -> dict[str, Any]:
    """Return the rows of the result table at one cut-off.

    Methods of the parameters without results have rows of dashes, the last ones.
    """
    without = [method for method in a.params.methods if method not in a.cells]
    metrics = [f"{name}@{k}" for name in ACCURACY]
    return {
        "k": k,
        "rows": [
            _method(a, method)
            | {
                "values": [_value(a, method, metric) for metric in metrics],
                "present": method in a.cells,
            }
            for method in [*a.methods, *without]
        ],
    }


def _value(a: Analysis, method: str, metric: str) -> dict[str, Any]:
    """Return one cell of the result table, a dash for a method without results."""
    if method not in a.cells:
        return {"text": NONE, "best": False, "mark": "", "interval": "", "spread": ""}
    mean = a.mean(method, metric)
    spread = a.spread(method, metric)
    interval = a.intervals[method].get(metric)
    best = a.best(metric)
    return {
        "text": number(mean),
        # values that look equal are all the best one; none is where seeds differ
        "best": best is not None
        and a.is_comparable(metric)
        and number(mean) == number(a.mean(best, metric)),
        "mark": MARKS[a.significant(method)] if metric == a.metric else "",
        "interval": f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "",
        "spread": "" if spread is None else number(spread),
    }


def _row(a: Analysis, pair: tuple[str, str], metric: str, values: Comparison) -> dict[str, Any]:
    """Return a row of a table of comparisons. pair: the second method is subtracted."""
    return _method(a, pair[1]) | {
        "difference": signed(values.difference),
        "interval": f"{signed(values.low)} to {signed(values.high)}",
        "spread": number(a.difference_spread(*pair, metric)),
        "effect": signed(values.effect, 2),
        "effect_interval": f"{signed(values.effect_low, 2)} to {signed(values.effect_high, 2)}",
    }


def _p_cells(a: Analysis, test: Tested | None) -> dict[str, Any]:
    """Return p and corrected p of a row of the report's metric."""
    if test is None:
        return {"p": NOT_TESTED, "corrected": NOT_TESTED, "significant": False}
    return {
        "p": p_cell(test.p),
        "corrected": p_cell(test.corrected_p),
        "significant": test.corrected_p < a.alpha,
    }


def _comparisons(a: Analysis) -> list[dict[str, Any]]:
    """Return a table of comparisons for each metric, the report's metric first.

    The report's metric alone has p-values.
    """
    if not a.comparisons:
        return []
    metrics = [a.metric, *(column for column in a.columns if column != a.metric)]
    tables = []
    for metric in metrics:
        rows = [
            _row(a, (a.reference, method), metric, values[metric])
            | (_p_cells(a, a.tests.get(method)) if metric == a.metric else {})
            for method, values in a.comparisons.items()
        ]
        tables.append({"metric": metric_title(metric), "tested": metric == a.metric, "rows": rows})
    return tables


def _ablations(a: Analysis) -> list[dict[str, Any]]:
    """Return the rows of the ablations; empty without an ablation whose method was evaluated."""
    return [
        _row(a, (base_of(method), method), a.metric, values)
        | _p_cells(a, a.ablation_tests.get(method))
        | {
            "base": title(base_of(method)),
            "changes": change_text(method),
            "value": number(a.mean(method, a.metric)),
        }
        for method, values in a.ablation_comparisons.items()
    ]


def _beyond(a: Analysis) -> dict[str, Any]:
    """Return the table of metrics beyond accuracy, at the report's cut-off."""
    columns = [f"{name}@{a.metric_cutoff}" for name in BEYOND_ACCURACY]
    # novelty is in bits, the others are at most 1
    digits = [2 if name == "novelty" else 3 for name in BEYOND_ACCURACY]
    rows = []
    for method in a.methods:
        values = [number(a.mean(method, c), d) for c, d in zip(columns, digits, strict=True)]
        rows.append(_method(a, method) | {"values": values})
    return {"headings": [metric_title(column) for column in columns], "rows": rows}


def _groups(a: Analysis) -> dict[str, Any]:
    """Return the table of cold and warm users and items."""
    columns = [("cold_users", a.metric), ("warm_users", a.metric)]
    for group in ("cold_items", "warm_items"):
        columns += [(group, f"{name}@{a.metric_cutoff}") for name in ("ndcg", "recall")]
    rows = []
    for method in a.methods:
        values = [number(a.mean(method, f"{group}/{metric}")) for group, metric in columns]
        rows.append(_method(a, method) | {"values": values})
    headings = [f"{group_title(g).capitalize()}: {metric_title(metric)}" for g, metric in columns]
    return {"headings": headings, "rows": rows}


def _new_items(a: Analysis) -> dict[str, Any] | None:
    """Return the table of items without training users; None when no test pair has such an item."""
    if not a.new_columns:
        return None
    rows = []
    for method in a.methods:
        values = []
        for column in a.new_columns:
            compared = a.new_comparisons.get(method, {}).get(column)
            below = f"{signed(compared.low)} to {signed(compared.high)}" if compared else ""
            values.append({"text": number(a.mean(method, column)), "interval": below})
        rows.append(_method(a, method) | {"values": values})
    headings = [metric_title(column.partition("/")[2]) for column in a.new_columns]
    return {"headings": headings, "rows": rows}


def costs_view(costs: dict[str, dict[str, float]] | None) -> dict[str, Any] | None:
    """Return the table of costs by kind of stage, and that of every run; None without records.

    costs: seconds and peak_memory_bytes by stage. A kind is the part of a stage's name before the
    @.
    """
    if not costs:
        return None
    by_kind: dict[str, list[dict[str, float]]] = {}
    for stage, cost in costs.items():
        by_kind.setdefault(stage.partition("@")[0], []).append(cost)
    spent = {kind: sum(run["seconds"] for run in runs) for kind, runs in by_kind.items()}
    longest = max(spent.values()) or 1
    rows = []
    for kind, runs in by_kind.items():
        peaks = [run.get("peak_memory_bytes") for run in runs]
        rows.append(
            {
                "stage": kind,
                "runs": len(runs),
                "seconds": seconds(spent[kind]),
                "bar": round(100 * spent[kind] / longest, 1),
                "memory": size(max((peak for peak in peaks if peak is not None), default=None)),
            }
        )
    single = [
        {
            "stage": stage,
            "seconds": seconds(cost["seconds"]),
            "memory": size(cost.get("peak_memory_bytes")),
        }
        for stage, cost in sorted(costs.items())
    ]
    return {"rows": rows, "single": single, "total": seconds(sum(spent.values()))}
