"""Draw the scores of the methods: alone, as differences, against coverage and over datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from glta.pictures.svg import Drawing
from glta.report.analysis import Analysis, shares_of_best
from glta.report.draw.axes import Axes
from glta.report.draw.marks import colour_class, mark_number
from glta.report.known import title
from glta.report.wording import NOT_TESTED, metric_title, shortened, signed

WIDTH = 360
"""Width of every figure."""

ROW = 40
"""Height of a method's row."""


def scores_figure(a: Analysis) -> Drawing:
    """Draw the report's metric of every method, best first.

    A bar shows the interval of the mean, thin ticks show the seeds.
    """
    means = {method: a.known_mean(method, a.metric) for method in a.methods}
    order = sorted(means, key=lambda method: -means[method])
    description = "; ".join(f"{title(method)} {means[method]:.4f}" for method in order)
    d = Drawing(
        WIDTH, 34 + ROW * len(order), f"{metric_title(a.metric)} of each method", description
    )
    highest = 0.0
    for method in order:
        highest = max([highest, *a.per_seed(method, a.metric)])
        if a.metric in a.intervals[method]:
            highest = max(highest, a.intervals[method][a.metric][1])
    axes = Axes(d, (6, 6, WIDTH - 52, d.height - 26), x_limits=(0, highest * 1.02), y_limits=(0, 1))
    axes.x_ticks(rules=False)
    for row, method in enumerate(order):
        top = ROW * row
        mean = means[method]
        index = mark_number(a, method)
        colour = colour_class(index)
        axes.rules_between(24 + top, 44 + top)
        d.text(8, 21 + top, title(method), bold=row == 0)
        if a.metric in a.intervals[method]:
            low, high = a.intervals[method][a.metric]
            d.line((axes.x(low), 34 + top), (axes.x(high), 34 + top), kind=colour, width=3)
        if len(a.cells[method]) > 1:
            for value in a.per_seed(method, a.metric):
                x = axes.x(value)
                d.line((x, 27 + top), (x, 41 + top), kind=colour, width=1.5)
        d.mark(axes.x(mean), 34 + top, index, tip=f"{title(method)}: {mean:.4f}")
        d.text(WIDTH, 38 + top, f"{mean:.4f}", anchor="end", bold=row == 0)
    return d


def differences_figure(a: Analysis) -> Drawing | None:
    """Draw the reference minus each other method with intervals, around zero."""
    compared = {method: of_method[a.metric] for method, of_method in a.comparisons.items()}
    if not compared:
        return None
    order = list(compared)
    description = "; ".join(
        f"minus {title(method)} {signed(compared[method].difference)}" for method in order
    )
    heading = f"{title(a.reference)} minus each other method, {metric_title(a.metric)}"
    d = Drawing(WIDTH, 34 + ROW * len(order), heading, description)
    bounds = [0.0]
    for values in compared.values():
        bounds += [values.low, values.high]
    pad = 0.05 * (max(bounds) - min(bounds))
    axes = Axes(
        d,
        (6, 6, WIDTH - 62, d.height - 26),
        x_limits=(min(bounds) - pad, max(bounds) + pad),
        y_limits=(0, 1),
    )
    axes.x_ticks(4, rules=False)
    for row, method in enumerate(order):
        top = ROW * row
        values = compared[method]
        index = mark_number(a, method)
        significant = a.significant(method) != 0
        ink = "ink" if significant else "muted"
        untested = NOT_TESTED if a.why_untested(method) else "not significant"
        note = "" if significant else f" ({untested})"
        difference = signed(values.difference)
        axes.rules_between(24 + top, 44 + top)
        d.line((axes.x(0), 24 + top), (axes.x(0), 44 + top), kind="ink", width=1.5)
        d.text(8, 21 + top, f"minus {title(method)}{note}", kind=ink)
        d.line(
            (axes.x(values.low), 34 + top),
            (axes.x(values.high), 34 + top),
            kind=colour_class(index),
            width=3,
        )
        d.mark(
            axes.x(values.difference),
            34 + top,
            index,
            tip=f"{difference} [{signed(values.low)}, {signed(values.high)}]",
            hollow=not significant,
        )
        d.text(WIDTH, 38 + top, difference, kind=ink, anchor="end")
    return d


def coverage_figure(a: Analysis) -> Drawing | None:
    """Draw the report's metric against coverage at the same cut-off.

    It shows which methods are accurate only by recommending the same few items to all users.
    """
    coverage = f"coverage@{a.metric_cutoff}"
    points = {}
    for method in a.methods:
        x = a.mean(method, coverage)
        y = a.mean(method, a.metric)
        if x is not None and y is not None:
            points[method] = (x, y)
    if len(points) < 2:
        return None
    description = "; ".join(f"{title(m)} {x:.3f}, {y:.4f}" for m, (x, y) in points.items())
    heading = f"{metric_title(a.metric)} against {metric_title(coverage)}"
    d = Drawing(WIDTH, max(268, 150 + 18 * len(points)), heading, description)
    highest = max(y for _, y in points.values())
    axes = Axes(
        d, (44, 22, WIDTH - 14, d.height - 48), x_limits=(0, 1), y_limits=(0, highest * 1.1 or 1)
    )
    axes.y_ticks(5)
    axes.x_ticks(5)
    d.text(6, 12, metric_title(a.metric), kind="muted")
    label = f"{metric_title(coverage)}: share of the catalogue shown"
    d.text(WIDTH - 14, d.height - 12, label, kind="muted", anchor="end")
    for method, (x, y) in points.items():
        tip = f"{title(method)}: {x:.3f}, {y:.4f}"
        d.mark(axes.x(x), axes.y(y), mark_number(a, method), size=6, tip=tip)
    return d


def overview_figure(analyses: Sequence[Analysis]) -> Drawing | None:
    """Draw every method's mean as a share of the highest one, with one mark for each dataset.

    Ablations are left out. Returns None for a single dataset.
    """
    found = [a for a in analyses if a.cells]
    if len(found) < 2:
        return None
    metric = found[0].metric
    tops = {a.dataset: highest_mean(a) or 1.0 for a in found}
    shares = shares_of_best(found)
    order = list(shares)
    step = 9
    row_height = 24 + step * len(found)
    foot = 16 * len(found)
    d = Drawing(
        WIDTH,
        row_height * len(order) + 44 + foot,
        f"{metric_title(metric)} as a share of the highest",
        overview_text(shares, order),
    )
    bounds = []
    for a in found:
        for method in shares:
            if method in a.cells:
                _, high = a.intervals[method].get(metric, (0.0, 1.0))
                bounds.append(high / tops[a.dataset])
    axes = Axes(
        d, (8, 6, WIDTH - 8, d.height - foot - 36), x_limits=(0, max(bounds)), y_limits=(0, 1)
    )
    axes.x_ticks(5, rules=False)
    for row, method in enumerate(order):
        top = 18 + row_height * row
        d.text(8, top, title(method), bold=row == 0)
        axes.rules_between(top + 5, top + 6 + step * len(found))
        for place, a in enumerate(found):
            if method not in a.cells:
                continue
            y = top + 10 + step * place
            best = tops[a.dataset]
            if metric in a.intervals[method]:
                low, high = a.intervals[method][metric]
                colour = colour_class(place)
                d.line((axes.x(low / best), y), (axes.x(high / best), y), kind=colour, width=2)
            mean = a.known_mean(method, metric)
            tip = f"{title(method)}, {a.dataset}: {mean:.4f}"
            d.mark(axes.x(shares[method][a.dataset]), y, place, size=4, tip=tip)
    for place, a in enumerate(found):
        baseline = d.height - foot + 8 + 16 * place
        d.mark(14, baseline - 4, place, size=4)
        best_title = title(a.best(metric) or "")
        text = f"{shortened(a.dataset)}: 1 is {tops[a.dataset]:.4f}, {best_title}"
        d.text(26, baseline, text, kind="muted")
    return d


def highest_mean(a: Analysis) -> float:
    """Return the highest mean of the report's metric."""
    return max(a.known_mean(method, a.metric) for method in a.methods)


def overview_text(shares: Mapping[str, Mapping[str, float]], order: Sequence[str]) -> str:
    """Describe the overview for screen readers: GLTA 100% on sample, 98% on ml-1m; ..."""
    texts = []
    for method in order:
        of_method = [f"{share:.0%} on {dataset}" for dataset, share in shares[method].items()]
        texts.append(f"{title(method)} {', '.join(of_method)}")
    return "; ".join(texts)
