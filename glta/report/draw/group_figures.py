"""Draw accuracy within groups: items by popularity, and cold and warm users and items."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from glta.pictures.svg import Drawing
from glta.report.analysis import Analysis
from glta.report.draw.axes import Axes
from glta.report.draw.marks import colour_class, mark_number
from glta.report.draw.score_figures import WIDTH
from glta.report.known import title
from glta.report.wording import group_title, metric_title

GROUPS = ("cold_users", "warm_users", "cold_items", "warm_items")


def popularity_figure(a: Analysis) -> Drawing | None:
    """Draw recall within groups of items, the most popular on the left; means over seeds."""
    k = a.cutoffs[-1]
    rows = {method: recall_by_popularity(a, method, k=k) for method in a.methods}
    highest = max((v for row in rows.values() for v in row if v is not None), default=0.0)
    if not highest:
        return None
    groups = a.summary["popularity"]
    texts = []
    for method, row in rows.items():
        values = ["none" if value is None else f"{value:.3f}" for value in row]
        texts.append(f"{title(method)} {', '.join(values)}")
    # more lines are told apart in a taller figure
    height = max(268, 130 + 28 * len(rows))
    d = Drawing(WIDTH, height, f"Recall@{k} by popularity of the item", "; ".join(texts))
    d.text(6, 12, f"Recall@{k}", kind="muted")
    axes = Axes(
        d,
        (40, 22, WIDTH - 14, height - 62),
        x_limits=(-0.3, len(groups) - 0.7),
        y_limits=(0, highest * 1.05),
    )
    axes.y_ticks(5)
    for place, group in enumerate(groups):
        least = group["least"]
        most = group["most"]
        users = f"{least}-{most}" if least < most else f"{most}"
        d.text(axes.x(place), height - 44, f"{group['items']}", anchor="middle")
        d.text(axes.x(place), height - 28, users, kind="muted", anchor="middle")
    label = "items in the group; below: training users of an item"
    d.text(WIDTH - 14, height - 10, label, kind="muted", anchor="end")
    for method, row in rows.items():
        index = mark_number(a, method)
        known = [(place, value) for place, value in enumerate(row) if value is not None]
        points = [(axes.x(place), axes.y(value)) for place, value in known]
        for start, end in pairwise(points):
            d.line(start, end, kind=colour_class(index), width=1.5)
        for (x, y), (_, value) in zip(points, known, strict=True):
            d.mark(x, y, index, size=4.5, tip=f"{title(method)}: {value:.4f}")
    return d


def recall_by_popularity(a: Analysis, method: str, *, k: int) -> list[float | None]:
    """Average a method's recall within each group of items over seeds; None without test pairs."""
    tables = [cell.summary["popularity"] for cell in a.cells[method].values()]
    if len({len(table) for table in tables}) > 1:
        # seeds with different numbers of groups cannot be averaged
        tables = tables[:1]
    row: list[float | None] = []
    for group in zip(*tables, strict=True):
        values = [of_seed.get(f"recall@{k}") for of_seed in group]
        known = [value for value in values if value is not None]
        row.append(float(np.mean(known)) if known else None)
    return row


def groups_figure(a: Analysis) -> Drawing | None:
    """Draw the report's metric within cold and warm groups of users and items.

    For items it is NDCG at the same cut-off. Users have intervals.
    """
    metric_of = {
        group: a.metric if group.endswith("users") else f"ndcg@{a.metric_cutoff}"
        for group in GROUPS
    }
    values: dict[str, dict[str, float]] = {}
    for group, metric in metric_of.items():
        for method in a.methods:
            mean = a.mean(method, f"{group}/{metric}")
            if mean is not None:
                values.setdefault(group, {})[method] = mean
    if not values:
        return None
    texts = []
    bounds: list[float] = []
    for group, by_method in values.items():
        of_group = [f"{title(method)} {value:.4f}" for method, value in by_method.items()]
        texts.append(f"{group_title(group)}: {', '.join(of_group)}")
        bounds += by_method.values()
        for intervals in a.group_intervals.get(group, {}).values():
            if metric_of[group] in intervals:
                bounds.append(intervals[metric_of[group]][1])
    block = 26 + 13 * len(a.methods)
    heading = f"{metric_title(a.metric)} of cold and warm users and items"
    d = Drawing(WIDTH, block * len(values) + 34, heading, "; ".join(texts))
    axes = Axes(
        d, (6, 4, WIDTH - 10, d.height - 26), x_limits=(0, max(bounds) * 1.03), y_limits=(0, 1)
    )
    axes.x_ticks(6)
    for place, (group, by_method) in enumerate(values.items()):
        metric = metric_of[group]
        top = block * place + 16
        d.text(8, top + 2, f"{metric_title(metric)}, {group_title(group)}", bold=True)
        for row, method in enumerate(a.methods):
            if method not in by_method:
                continue
            y = top + 14 + 13 * row
            index = mark_number(a, method)
            interval = a.group_intervals.get(group, {}).get(method, {}).get(metric)
            if interval:
                low, high = interval
                colour = colour_class(index)
                d.line((axes.x(low), y), (axes.x(high), y), kind=colour, width=2)
            tip = f"{title(method)}, {group_title(group)}: {by_method[method]:.4f}"
            d.mark(axes.x(by_method[method]), y, index, size=4, tip=tip)
    return d
