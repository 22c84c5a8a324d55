"""Draw how the training of each method went."""

from __future__ import annotations

from typing import Any

from glta.pictures.svg import Drawing
from glta.report.analysis import Analysis
from glta.report.draw.axes import Axes
from glta.report.draw.marks import colour_class, mark_number
from glta.report.draw.score_figures import WIDTH
from glta.report.known import title

PANEL = 126
"""Height of one panel, the loss or the validation measure."""

History = list[dict[str, Any]]
"""One record for each epoch: epoch, and loss and valid where they were measured."""


def training_curves(a: Analysis) -> dict[str, Drawing]:
    """Draw one figure for each method and training stage that recorded a history, by name."""
    drawn = {}
    for method, cells in a.cells.items():
        of_seeds = [cell.summary.get("history") or {} for cell in cells.values()]
        stages = dict.fromkeys(stage for history in of_seeds for stage in history)
        for stage in stages:
            histories = [history.get(stage) or [] for history in of_seeds]
            drawing = training_curve(a, method, stage=stage, histories=histories)
            if drawing is not None:
                drawn[f"curve-{method}-{stage}".replace("_", "-")] = drawing
    return drawn


def training_curve(
    a: Analysis, method: str, *, stage: str, histories: list[History]
) -> Drawing | None:
    """Draw the training loss above and the validation measure below, over epochs.

    One line is one seed. A mark stands at the epoch that was kept. Returns None when neither was
    recorded.
    """
    records = [record for history in histories for record in history]
    panels = {}
    for part in ("loss", "valid"):
        values = [record[part] for record in records if record.get(part) is not None]
        if values:
            panels[part] = values
    if not panels:
        return None
    name = f"{title(method)}: {stage.replace('_', ' ')}"
    last = max(record["epoch"] for record in records) + 1
    description = f"{len(histories)} runs, {last} epochs at most"
    d = Drawing(WIDTH, 30 + PANEL * len(panels), name, description)
    d.text(6, 14, name, bold=True)
    index = mark_number(a, method)
    for place, (part, values) in enumerate(panels.items()):
        top = 42 + PANEL * place
        d.text(6, top - 8, panel_title(part, values), kind="muted")
        pad = 0.06 * (max(values) - min(values))
        axes = Axes(
            d,
            (48, top, WIDTH - 10, top + 86),
            x_limits=(0, last),
            y_limits=(min(values) - pad, max(values) + pad),
        )
        axes.y_ticks(3)
        axes.x_ticks(5, rules=False, whole=True)
        for number, history in enumerate(histories):
            draw_line(axes, history, part=part, index=index, opacity=max(0.4, 1 - 0.2 * number))
    d.text(WIDTH - 10, d.height - 32, "epoch", kind="muted", anchor="end")
    return d


def panel_title(part: str, values: list[float]) -> str:
    """Name what a panel shows. A stage that validates by its loss records it with a minus."""
    if part == "loss":
        return "training loss"
    return "validation NDCG@20" if min(values) >= 0 else "validation: minus loss"


def draw_line(axes: Axes, history: History, *, part: str, index: int, opacity: float) -> None:
    """Draw one seed's line, with a mark at the best validation value."""
    line = [(r["epoch"] + 1, r[part]) for r in history if r.get(part) is not None]
    points = [(axes.x(epoch), axes.y(value)) for epoch, value in line]
    axes.drawing.path(points, kind=colour_class(index), width=1.8, opacity=opacity)
    if part == "valid" and line:
        best = max(range(len(line)), key=lambda i: line[i][1])
        epoch, value = line[best]
        x, y = points[best]
        axes.drawing.mark(x, y, index, size=4, tip=f"kept: epoch {epoch}, {value:.4f}")
