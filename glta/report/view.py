"""Put an analysis into the rows and words that the template prints."""

from __future__ import annotations

from typing import Any

from glta.ablations import ablation_text
from glta.evaluation.metrics import ACCURACY, BEYOND_ACCURACY
from glta.report.analysis import Analysis, Tested, metric_title, p_text, signed, title
from glta.report.card import card, card_view
from glta.report.figures import colour, figures, key

NONE = "–"  # noqa: RUF001 - an empty cell


def number(value: float | None, digits: int = 4) -> str:
    """Write a number, or a dash where there is none."""
    return NONE if value is None else f"{value:,.{digits}f}"


def seconds(value: float) -> str:
    """Write a duration: 4.2 s, 3 min 20 s, 2 h 05 min."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return (
        f"{minutes} min {rest:02d} s"
        if minutes < 60
        else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def size(value: float | None) -> str:
    """Write bytes in binary units."""
    if value is None:
        return NONE
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"


def dataset_view(a: Analysis) -> dict[str, Any]:
    """Gather what one dataset's sections show."""
    cell = a.any_cell
    summary = cell.summary if cell else {}
    described = card_view(card(a))
    drawn = figures(a)
    return {
        "name": a.dataset,
        "synthetic": bool(described["source"].get("synthetic")),
        "verdict": a.verdict,
        "metric": metric_title(a.params.report.metric),
        "reference": title(a.params.report.reference),
        "confidence": f"{a.params.report.confidence:.0%}",
        "alpha": f"{a.alpha:.2g}",
        "seeds": a.params.seeds,
        "cutoffs": a.cutoffs,
        "missing": [f"{title(m)} (seed {s})" for m, s in a.missing],
        "evaluated": cell is not None,
        "num_users": cell.users.height if cell else 0,
        "headings": [d.title for d in ACCURACY.values()],
        "results": [_results(a, k) for k in a.cutoffs],
        "tests": _tests(a),
        "num_tests": sum(len(t) for t in a.tests.values()),
        "ablations": _ablations(a),
        "beyond": _beyond(a),
        "groups": _groups(a),
        "new_items": _new_items(a),
        "group_sizes": summary.get("groups", {}),
        "options": a.params.evaluate,
        "key": key(a),
        "figures": {name: drawing.svg() for name, drawing in drawn.items()},
        "curves": [drawing.svg() for name, drawing in drawn.items() if name.startswith("curve-")],
        "no_curves": [
            title(m)
            for m in a.methods
            if not any(c.summary.get("history") for c in a.cells[m].values())
        ],
        "models": _models(a),
        "card": described,
    } | {"drawn": drawn}


def _method(a: Analysis, method: str) -> dict[str, Any]:
    return {
        "title": title(method),
        "mark": colour(method, a.params.methods) % 8,
        "reference": method == a.params.report.reference,
    }


def _results(a: Analysis, k: int) -> dict[str, Any]:
    """Rows of the result table at one cut-off; methods of the parameters without results are rows
    of dashes.
    """
    rows = []
    for method in a.params.methods:
        values = []
        for name in ACCURACY:
            metric = f"{name}@{k}"
            if method not in a.cells:
                values.append(
                    {"text": NONE, "best": False, "mark": "", "interval": "", "spread": ""}
                )
                continue
            mean, (low, high) = (
                a.mean(method, metric),
                a.intervals[method].get(metric, (None, None)),
            )
            values.append(
                {
                    "text": number(mean),
                    "best": mean is not None
                    and number(mean) == number(a.mean(a.best(metric), metric)),
                    "mark": {1: "▲", -1: "▼", 0: ""}[a.significant(method, metric)],
                    "interval": f"{low:.4f} to {high:.4f}" if low is not None else "",
                    "spread": number(a.spread(method, metric))
                    if a.spread(method, metric) is not None
                    else "",
                }
            )
        rows.append(_method(a, method) | {"values": values, "present": method in a.cells})
    return {"k": k, "rows": rows}


def _test(a: Analysis, method: str, test: Tested) -> dict[str, Any]:
    """A row of a table of paired tests."""
    return _method(a, method) | {
        "difference": signed(test.values.difference),
        "interval": f"{signed(test.values.low)} to {signed(test.values.high)}",
        "p": p_text(test.values.p).removeprefix("p ").removeprefix("= "),
        "corrected": p_text(test.corrected_p).removeprefix("p ").removeprefix("= "),
        "sure": test.corrected_p < a.alpha,
        "effect": signed(test.values.effect, 2),
        "effect_interval": f"{signed(test.values.effect_low, 2)} to "
        f"{signed(test.values.effect_high, 2)}",
    }


def _tests(a: Analysis) -> list[dict[str, Any]]:
    """Rows of the paired tests by the report's metric, and of all other metrics."""
    metric = a.params.report.metric
    tables = [metric, *(m for m in a.columns if m != metric)]
    return [
        {
            "metric": metric_title(name),
            "rows": [_test(a, method, tests[name]) for method, tests in a.tests.items()],
        }
        for name in tables
        if a.tests
    ]


def _ablations(a: Analysis) -> list[dict[str, Any]]:
    """Rows of the ablations; empty when none was run, or no GLTA to compare them with."""
    metric = a.params.report.metric
    return [
        _test(a, method, test)
        | {"changes": ablation_text(method), "value": number(a.mean(method, metric))}
        for method, test in a.ablation_tests.items()
    ]


def _beyond(a: Analysis) -> dict[str, Any]:
    k = a.params.report.metric.partition("@")[2]
    columns = [f"{name}@{k}" for name in BEYOND_ACCURACY]
    digits = [2 if name == "novelty" else 3 for name in BEYOND_ACCURACY]
    rows = [
        _method(a, m)
        | {"values": [number(a.mean(m, c), d) for c, d in zip(columns, digits, strict=True)]}
        for m in a.methods
    ]
    return {"headings": [metric_title(c) for c in columns], "rows": rows}


def _groups(a: Analysis) -> dict[str, Any]:
    metric = a.params.report.metric
    k = metric.partition("@")[2]
    columns = [(f"{g}/{metric}", g) for g in ("cold_users", "warm_users")]
    columns += [
        (f"{g}/{name}@{k}", g) for g in ("cold_items", "warm_items") for name in ("ndcg", "recall")
    ]
    headings = [
        f"{g.replace('_', ' ').capitalize()}: {metric_title(c.partition('/')[2])}"
        for c, g in columns
    ]
    return {
        "headings": headings,
        "rows": [
            _method(a, m) | {"values": [number(a.mean(m, c)) for c, _ in columns]}
            for m in a.methods
        ],
    }


def _new_items(a: Analysis) -> dict[str, Any] | None:
    """Rows about items without training users, with the mark of their test; None where no test item
    is one.
    """
    if not a.new_columns:
        return None
    rows = []
    for method in a.methods:
        values = []
        for column in a.new_columns:
            test = a.new_tests.get(method, {}).get(column)
            sure = test is not None and test.corrected_p < a.alpha
            mark = ("▼" if test.values.difference > 0 else "▲") if sure else ""
            p = p_text(test.corrected_p) if test else ""
            values.append({"text": number(a.mean(method, column)), "mark": mark, "p": p})
        rows.append(_method(a, method) | {"values": values})
    return {
        "headings": [metric_title(column.partition("/")[2]) for column in a.new_columns],
        "rows": rows,
    }


def _models(a: Analysis) -> list[dict[str, Any]]:
    """What was trained: the number of parameters of each method, from the first seed's
    model.json.
    """
    rows = []
    for method in a.methods:
        model = next(iter(a.cells[method].values())).summary.get("model") or {}
        count = model.get("trainable_parameters")
        rows.append(_method(a, method) | {"parameters": NONE if count is None else f"{count:,}"})
    return rows


def costs_view(costs: dict[str, dict[str, float]] | None) -> dict[str, Any] | None:
    """Sum stage costs by the stage's verb (before the @) and keep the single runs; None when
    nothing is recorded.
    """
    if not costs:
        return None
    verbs: dict[str, list[dict[str, float]]] = {}
    for name, cost in costs.items():
        verbs.setdefault(name.partition("@")[0], []).append(cost)
    total = sum(c["seconds"] for c in costs.values())
    slowest = max(sum(c["seconds"] for c in runs) for runs in verbs.values()) or 1
    rows = []
    for verb, runs in verbs.items():
        spent = sum(c["seconds"] for c in runs)
        peak = max(
            (c["peak_memory_bytes"] for c in runs if c.get("peak_memory_bytes") is not None),
            default=None,
        )
        bar = round(100 * spent / slowest, 1)
        rows.append(
            {
                "stage": verb,
                "runs": len(runs),
                "seconds": seconds(spent),
                "bar": bar,
                "memory": size(peak),
            }
        )
    single = [
        {
            "stage": name,
            "seconds": seconds(c["seconds"]),
            "memory": size(c.get("peak_memory_bytes")),
        }
        for name, c in sorted(costs.items())
    ]
    return {"rows": rows, "single": single, "total": seconds(total)}
