"""The report's figures.

Each is small enough to be read at the width of a phone; all of one dataset share one key.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from glta.ablations import ABLATIONS
from glta.methods.registry import METHODS
from glta.report.analysis import Analysis, metric_title, signed, title
from glta.report.svg import Axes, Drawing

WIDTH = 360


def colour(method: str, params_methods: list[str]) -> int:
    """Give a method its mark and colour, the same in every figure and, for registered methods, in
    every report.
    """
    known = list(METHODS)
    return known.index(method) if method in known else len(known) + params_methods.index(method)


def figures(a: Analysis) -> dict[str, Drawing]:
    """Draw everything that can be drawn of a dataset, by name."""
    if a.any_cell is None:
        return {}
    drawn = {
        "scores": scores(a),
        "differences": differences(a),
        "popularity": popularity(a),
        "groups": groups(a),
    }
    drawn["reach"] = reach(a)
    for method in a.methods:
        stages = dict.fromkeys(
            name for cell in a.cells[method].values() for name in cell.summary.get("history") or {}
        )
        for stage in stages:
            drawn[f"curve-{method}-{stage}".replace("_", "-")] = curve(a, method, stage)
    drawn["parts"] = parts(a)
    for side in ("user", "item"):
        drawn[f"degrees-{side}"] = degrees(a, side)
    drawn["ratings"] = ratings(a)
    return {name: drawing for name, drawing in drawn.items() if drawing is not None}


def _order(a: Analysis, metric: str) -> list[str]:
    return sorted(a.methods, key=lambda m: -(a.mean(m, metric) or 0))


def _row_rules(axes: Axes, top: float, bottom: float) -> None:
    """Rules beside a row's marks only, so that none runs through the row's name."""
    for value in axes.ticks_x:
        axes.drawing.line(axes.x(value), top, axes.x(value), bottom)


def overview(analyses: Sequence[Analysis]) -> Drawing | None:
    """Draw every method's value as a share of the best one's, a mark a dataset; none for a single
    dataset.
    """
    found = [a for a in analyses if a.cells]
    if len(found) < 2:
        return None
    metric, step = found[0].params.report.metric, 9
    tops = {a.dataset: a.mean(a.best(metric), metric) or 1.0 for a in found}
    shares = {
        method: {
            a.dataset: a.mean(method, metric) / tops[a.dataset] for a in found if method in a.cells
        }
        for method in dict.fromkeys(m for a in found for m in a.methods if m not in ABLATIONS)
    }
    order = sorted(shares, key=lambda m: -float(np.mean(list(shares[m].values()))))
    said = "; ".join(
        f"{title(m)} " + ", ".join(f"{share:.0%} on {name}" for name, share in shares[m].items())
        for m in order
    )
    bounds = [
        a.intervals[m].get(metric, (0, 1))[1] / tops[a.dataset]
        for a in found
        for m in order
        if m in a.cells
    ]
    row_height, foot = 24 + step * len(found), 16 * len(found)
    d = Drawing(
        WIDTH,
        row_height * len(order) + 44 + foot,
        f"{metric_title(metric)} as a share of the best method's",
        said,
    )
    axes = Axes(d, (8, 6, WIDTH - 8, d.height - foot - 36), (0, max(bounds)), (0, 1))
    axes.x_ticks(5, rules=False)
    for row, method in enumerate(order):
        y = 18 + row_height * row
        d.text(8, y, title(method), weight=600 if row == 0 else 400)
        _row_rules(axes, y + 5, y + 6 + step * len(found))
        for place, a in enumerate(found):
            if method not in a.cells:
                continue
            at, top, share = y + 10 + step * place, tops[a.dataset], shares[method][a.dataset]
            if metric in a.intervals[method]:
                low, high = a.intervals[method][metric]
                d.line(axes.x(low / top), at, axes.x(high / top), at, f"m{place % 8}", 2)
            d.mark(axes.x(share), at, place, 4, f"{title(method)}, {a.dataset}: {share * top:.4f}")
    for place, a in enumerate(found):
        y = d.height - foot + 8 + 16 * place
        d.mark(14, y - 4, place, 4)
        d.text(26, y, f"{a.dataset}: 1 is {tops[a.dataset]:.4f}, {title(a.best(metric))}", "muted")
    return d


def scores(a: Analysis) -> Drawing:
    """Draw the report's metric of every method with its interval, best first, and the seeds as thin
    ticks.
    """
    metric, order = a.params.report.metric, _order(a, a.params.report.metric)
    said = "; ".join(f"{title(m)} {a.mean(m, metric):.4f}" for m in order)
    d = Drawing(WIDTH, 34 + 40 * len(order), f"{metric_title(metric)} of each method", said)
    highs = [a.intervals[m].get(metric, (0, 0))[1] for m in order] + [
        v for m in order for v in a.per_seed(m, metric)
    ]
    axes = Axes(d, (6, 6, WIDTH - 52, d.height - 26), (0, max(highs) * 1.02), (0, 1))
    axes.x_ticks(rules=False)
    for row, method in enumerate(order):
        _row_rules(axes, 24 + 40 * row, 44 + 40 * row)
        y, index, mean = 30 + 40 * row, colour(method, a.params.methods), a.mean(method, metric)
        kind = f"m{index % 8}"
        d.text(8, y - 9, title(method), weight=600 if row == 0 else 400)
        if metric in a.intervals[method]:
            low, high = a.intervals[method][metric]
            d.line(axes.x(low), y + 4, axes.x(high), y + 4, kind, 3)
        if len(a.cells[method]) > 1:
            for value in a.per_seed(method, metric):
                d.line(axes.x(value), y - 3, axes.x(value), y + 11, kind, 1.5)
        d.mark(axes.x(mean), y + 4, index, 5, f"{title(method)}: {mean:.4f}")
        d.text(WIDTH, y + 8, f"{mean:.4f}", anchor="end", weight=600 if row == 0 else 400)
    return d


def differences(a: Analysis) -> Drawing | None:
    """Draw reference minus other with intervals, around zero."""
    if not a.tests:
        return None
    metric, reference = a.params.report.metric, a.params.report.reference
    order = sorted(a.tests, key=lambda m: -a.tests[m][metric].values.difference)
    said = "; ".join(
        f"minus {title(m)} {signed(a.tests[m][metric].values.difference)}" for m in order
    )
    d = Drawing(
        WIDTH,
        34 + 40 * len(order),
        f"{title(reference)} minus each other method, {metric_title(metric)}",
        said,
    )
    bounds = [0.0] + [b for m in order for b in a.tests[m][metric].values[1:3]]
    pad = 0.05 * (max(bounds) - min(bounds))
    axes = Axes(
        d, (6, 6, WIDTH - 62, d.height - 26), (min(bounds) - pad, max(bounds) + pad), (0, 1)
    )
    axes.x_ticks(4, rules=False)
    for row, method in enumerate(order):
        _row_rules(axes, 24 + 40 * row, 44 + 40 * row)
        d.line(axes.x(0), 24 + 40 * row, axes.x(0), 44 + 40 * row, "ink", 1.5)
        y, index, (c, p) = 30 + 40 * row, colour(method, a.params.methods), a.tests[method][metric]
        sure = p < a.alpha
        d.text(
            8,
            y - 9,
            f"minus {title(method)}" + ("" if sure else " (not significant)"),
            "ink" if sure else "muted",
        )
        d.line(axes.x(c.low), y + 4, axes.x(c.high), y + 4, f"m{index % 8}", 3)
        d.mark(
            axes.x(c.difference),
            y + 4,
            index,
            5,
            f"{signed(c.difference)} [{signed(c.low)}, {signed(c.high)}]",
            not sure,
        )
        d.text(WIDTH, y + 8, signed(c.difference), "ink" if sure else "muted", "end")
    return d


def key(a: Analysis) -> list[tuple[str, str]]:
    """Return (title, picture) of each method's mark, for the key beside the figures."""
    entries = []
    for method in a.methods:
        d = Drawing(16, 16, title(method), "")
        d.mark(8, 8, colour(method, a.params.methods), 5)
        entries.append((title(method), d.svg().replace(' role="img"', ' aria-hidden="true"')))
    return entries


def curve(a: Analysis, method: str, stage: str) -> Drawing | None:
    """Draw training loss above, validation below, over epochs; one line a seed, a mark at the epoch
    that was kept.
    """
    histories = {
        seed: cell.summary["history"].get(stage) or [] for seed, cell in a.cells[method].items()
    }
    records = [r for h in histories.values() for r in h]
    parts = [
        (name, [r[name] for r in records if r.get(name) is not None]) for name in ("loss", "valid")
    ]
    parts = [(name, values) for name, values in parts if values]
    if not parts:
        return None
    name = f"{title(method)}: {stage.replace('_', ' ')}"
    last = max(r["epoch"] for r in records) + 1
    d = Drawing(WIDTH, 30 + 126 * len(parts), name, f"{len(histories)} runs, {last} epochs at most")
    d.text(6, 14, name, weight=600)
    index = colour(method, a.params.methods)
    for place, (part, values) in enumerate(parts):
        top = 42 + 126 * place
        what = {
            "loss": "training loss",
            "valid": "validation NDCG@20" if min(values) >= 0 else "validation: minus loss",
        }[part]
        d.text(6, top - 8, what, "muted")
        span = max(values) - min(values)
        limits = (min(values) - 0.06 * span, max(values) + 0.06 * span)
        axes = Axes(d, (48, top, WIDTH - 10, top + 86), (0, last), limits)
        axes.y_ticks(3)
        axes.x_ticks(5, rules=False, whole=True)
        for number, history in enumerate(histories.values()):
            line = [(r["epoch"] + 1, r[part]) for r in history if r.get(part) is not None]
            points = [(axes.x(x), axes.y(y)) for x, y in line]
            d.path(points, f"m{index % 8}", 1.8, max(0.4, 1 - 0.2 * number))
            if part == "valid" and line:
                best = max(range(len(line)), key=lambda i: line[i][1])
                tip = f"kept: epoch {line[best][0]}, {line[best][1]:.4f}"
                d.mark(*points[best], index, 4, tip)
    d.text(WIDTH - 10, d.height - 26 - 6, "epoch", "muted", "end")
    return d


def popularity(a: Analysis) -> Drawing | None:
    """Draw recall within groups of items, the most popular to the left; means over seeds."""
    k, rows = a.cutoffs[-1], {}
    for method in a.methods:
        tables = [cell.summary["popularity"] for cell in a.cells[method].values()]
        if len({len(t) for t in tables}) > 1:  # seeds with unlike groups have no mean
            tables = tables[:1]
        columns = [[row.get(f"recall@{k}") for row in group] for group in zip(*tables, strict=True)]
        rows[method] = [
            float(np.mean([v for v in c if v is not None]))
            if any(v is not None for v in c)
            else None
            for c in columns
        ]
    groups_ = a.any_cell.summary["popularity"]
    top = max((v for r in rows.values() for v in r if v is not None), default=0)
    if not top:
        return None
    said = "; ".join(
        f"{title(m)} " + ", ".join("none" if v is None else f"{v:.3f}" for v in r)
        for m, r in rows.items()
    )
    d = Drawing(WIDTH, 268, f"Recall@{k} by popularity of the item", said)
    d.text(6, 12, f"Recall@{k}", "muted")
    axes = Axes(d, (40, 22, WIDTH - 14, 206), (-0.3, len(groups_) - 0.7), (0, top * 1.05))
    axes.y_ticks(5)
    for place, group in enumerate(groups_):
        d.text(axes.x(place), 224, f"{group['items']}", "ink", "middle")
        limits = (
            f"{group['least']}-{group['most']}"
            if group["least"] < group["most"]
            else f"{group['most']}"
        )
        d.text(axes.x(place), 240, limits, "muted", "middle")
    d.text(WIDTH - 14, 258, "items in the group; below: training users of an item", "muted", "end")
    for method, values in rows.items():
        index = colour(method, a.params.methods)
        points = [(axes.x(i), axes.y(v), v) for i, v in enumerate(values) if v is not None]
        for (x1, y1, _), (x2, y2, _) in pairwise(points):
            d.line(x1, y1, x2, y2, f"m{index % 8}", 1.5)
        for x, y, value in points:
            d.mark(x, y, index, 4.5, f"{title(method)}: {value:.4f}")
    return d


GROUPS = {
    "cold_users": "cold users",
    "warm_users": "warm users",
    "cold_items": "cold items",
    "warm_items": "warm items",
}


def groups(a: Analysis) -> Drawing | None:
    """Draw the report's metric (NDCG at its cut-off for items) within cold and warm groups;
    intervals for users.
    """
    metric = a.params.report.metric
    of_items = f"ndcg@{metric.partition('@')[2]}"
    rows = [(g, metric if g.endswith("users") else of_items) for g in GROUPS]
    rows = [
        (g, name)
        for g, name in rows
        if any(a.mean(m, f"{g}/{name}") is not None for m in a.methods)
    ]
    if not rows:
        return None
    block = 26 + 13 * len(a.methods)
    said = "; ".join(
        f"{GROUPS[g]}: "
        + ", ".join(
            f"{title(m)} {v:.4f}" for m in a.methods if (v := a.mean(m, f"{g}/{n}")) is not None
        )
        for g, n in rows
    )
    d = Drawing(
        WIDTH,
        block * len(rows) + 34,
        f"{metric_title(metric)} of cold and warm users and items",
        said,
    )
    values = [v for g, n in rows for m in a.methods if (v := a.mean(m, f"{g}/{n}")) is not None]
    values += [i[n][1] for g, n in rows for i in a.group_intervals.get(g, {}).values() if n in i]
    axes = Axes(d, (6, 4, WIDTH - 10, d.height - 26), (0, max(values) * 1.03), (0, 1))
    axes.x_ticks(6)
    for place, (group, name) in enumerate(rows):
        top = block * place + 16
        d.text(8, top + 2, f"{metric_title(name)}, {GROUPS[group]}", weight=600)
        for row, method in enumerate(a.methods):
            value, y, index = (
                a.mean(method, f"{group}/{name}"),
                top + 14 + 13 * row,
                colour(method, a.params.methods),
            )
            if value is None:
                continue
            if found := a.group_intervals.get(group, {}).get(method, {}).get(name):
                d.line(axes.x(found[0]), y, axes.x(found[1]), y, f"m{index % 8}", 2)
            d.mark(axes.x(value), y, index, 4, f"{title(method)}, {GROUPS[group]}: {value:.4f}")
    return d


def reach(a: Analysis) -> Drawing | None:
    """Draw the report's metric against coverage at the same cut-off: who is accurate by showing the
    same few items.
    """
    metric = a.params.report.metric
    coverage = f"coverage@{metric.partition('@')[2]}"
    points = {m: (a.mean(m, coverage), a.mean(m, metric)) for m in a.methods}
    points = {m: p for m, p in points.items() if None not in p}
    if len(points) < 2:
        return None
    said = "; ".join(f"{title(m)} {x:.3f}, {y:.4f}" for m, (x, y) in points.items())
    d = Drawing(WIDTH, 268, f"{metric_title(metric)} against {metric_title(coverage)}", said)
    axes = Axes(
        d, (44, 22, WIDTH - 14, 220), (0, 1), (0, max(y for _, y in points.values()) * 1.1 or 1)
    )
    axes.y_ticks(5)
    axes.x_ticks(5)
    d.text(6, 12, metric_title(metric), "muted")
    d.text(
        WIDTH - 14, 256, f"{metric_title(coverage)}: share of the catalogue shown", "muted", "end"
    )
    for method, (x, y) in points.items():
        d.mark(
            axes.x(x),
            axes.y(y),
            colour(method, a.params.methods),
            6,
            f"{title(method)}: {x:.3f}, {y:.4f}",
        )
    return d


PARTS = (
    ("train", "training: alignment's graph", 2),
    ("target", "training: alignment's targets", 6),
    ("valid", "validation", 1),
    ("test", "test", 4),
)


def parts(a: Analysis) -> Drawing | None:
    """Draw how the interactions of the first seed are shared out, as one bar, with a row for each
    part.
    """
    counts = a.any_cell.summary.get("counts") or {}
    if not {name for name, _, _ in PARTS} <= set(counts):
        return None
    sizes = {name: counts[name] for name, _, _ in PARTS}
    sizes["train"] -= sizes["target"]
    total = sum(sizes.values()) or 1
    said = "; ".join(f"{words} {sizes[name]:,}" for name, words, _ in PARTS)
    d = Drawing(WIDTH, 62 + 20 * len(PARTS), "How the interactions are shared out", said)
    d.text(6, 14, "interactions in each part", weight=600)
    left = 6.0
    for row, (name, words, index) in enumerate(PARTS):
        width, y = (WIDTH - 12) * sizes[name] / total, 76 + 20 * row
        d.bar(left, 26, max(width - 2, 0), 22, f"m{index}", f"{words}: {sizes[name]:,}")
        d.bar(6, y - 10, 11, 11, f"m{index}", "")
        d.text(24, y, words, "muted")
        d.text(WIDTH - 54, y, f"{sizes[name]:,}", anchor="end")
        d.text(WIDTH - 6, y, f"{sizes[name] / total:.1%}", "muted", "end")
        left += width
    return d


def degrees(a: Analysis, side: str) -> Drawing | None:
    """Draw how many users (items) have how many training interactions, in doubling bins."""
    found = (
        (a.any_cell.summary.get("counts") or {})
        .get("degree", {})
        .get(side, {})
        .get("histogram", [])
    )
    filled = [place for place, b in enumerate(found) if b["count"]]
    if not filled:
        return None
    return _bars(found[filled[0] :], f"{side}s by training interactions", f"{side}s", ",")


def ratings(a: Analysis) -> Drawing | None:
    """Draw how often each rating was given, to all interactions left by the filters."""
    found = ((a.any_cell.summary.get("counts") or {}).get("rating") or {}).get("histogram", [])
    return _bars(found, "interactions by rating", "interactions", "g") if found else None


def _bars(histogram: list[dict], heading: str, counted: str, form: str) -> Drawing:
    """Draw a histogram as rows; form: how the ends of its bins are written."""
    top = max(b["count"] for b in histogram)
    ends = [(f"{b['from']:{form}}", f"{b['to']:{form}}") for b in histogram]
    labels = [low if low == high else f"{low} to {high}" for low, high in ends]
    said = "; ".join(f"{label}: {b['count']}" for label, b in zip(labels, histogram, strict=True))
    d = Drawing(WIDTH, 18 * len(histogram) + 30, heading.capitalize(), said)
    d.text(6, 14, heading, weight=600)
    for place, (label, b) in enumerate(zip(labels, histogram, strict=True)):
        y, width = 26 + 18 * place, (WIDTH - 160) * b["count"] / top
        d.text(94, y + 11, label, "muted", "end")
        if b["count"]:
            d.bar(102, y + 1, max(1, width), 12, "m2", f"{label}: {b['count']:,} {counted}")
        d.text(110 + width, y + 11, f"{b['count']:,}", "muted")
    return d
