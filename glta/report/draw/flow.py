"""Draw boxes in columns from left to right, with an arrow from each box to what is made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from glta.pictures.svg import Drawing, box_height

CHANNEL = 16
"""Width between two columns, where arrows bend."""

GAP = 18
"""Height between the boxes of a column."""

LANE = 8
"""Height that an arrow takes where it passes a column."""

Sources = Mapping[str, Sequence[str]]
"""Names of what a box is made from, by the name of the box."""


@dataclass(frozen=True)
class Box:
    """Describe one box of a flow chart.

    name: by which other boxes refer to it. heading, lines: the text in the box. kind: the class of
    its colour. tip: the text that appears when the pointer rests on it. sources: names of the boxes
    that it is made from.
    """

    name: str
    heading: str
    kind: str
    lines: Sequence[str]
    tip: str
    sources: Sequence[str] = ()
    width: float = 90

    @property
    def height(self) -> float:
        return box_height(1 + len(self.lines))


def direct_sources(boxes: Sequence[Box]) -> dict[str, list[str]]:
    """Return each box's sources without those that one of its other sources is made from.

    An arrow from such a source would say nothing new.
    """
    sources = {box.name: box.sources for box in boxes}

    @cache
    def ancestors(name: str) -> frozenset[str]:
        return frozenset(sources[name]).union(*map(ancestors, sources[name]))

    return {
        name: [source for source in own if not any(source in ancestors(o) for o in own)]
        for name, own in sources.items()
    }


def columns_of(arrows: Sources) -> dict[str, int]:
    """Put every box one column to the right of the last of its sources."""

    @cache
    def column(name: str) -> int:
        return max((column(source) + 1 for source in arrows[name]), default=0)

    return {name: column(name) for name in arrows}


def flow_chart(title: str, boxes: Sequence[Box]) -> Drawing:
    """Draw boxes and arrows.

    Every box stands one column to the right of the last of its sources. An arrow that passes a
    column has a lane of its own there.
    """
    by_name = {box.name: box for box in boxes}
    arrows = direct_sources(boxes)
    column = columns_of(arrows)
    # the last column that an arrow from the box leads to
    reach = {
        name: max([column[n] for n in arrows if name in arrows[n]], default=column[name])
        for name in arrows
    }
    # in each column its boxes, and the boxes whose arrows pass it
    columns = [
        [name for name in arrows if column[name] == c or column[name] < c < reach[name]]
        for c in range(max(reach.values()) + 1)
    ]
    widths = [
        max(by_name[name].width for name in names if column[name] == c)
        for c, names in enumerate(columns)
    ]
    left = [1 + sum(widths[:c]) + CHANNEL * c for c in range(len(columns))]
    middle, height = middles(by_name, arrows=arrows, column=column, columns=columns)

    drawing = Drawing(left[-1] + widths[-1] + 1, height, title, flow_text(boxes))
    for name, sources in arrows.items():
        end = column[name]
        for source in sources:
            start = column[source]
            points = [(left[start] + by_name[source].width, middle[source, start])]
            for c in range(start + 1, end):
                points.append((left[c], middle[source, c]))
                points.append((left[c] + widths[c], middle[source, c]))
            points.append((left[end], middle[name, end]))
            drawing.arrow(points)
    for name, box in by_name.items():
        c = column[name]
        drawing.box(
            left[c],
            middle[name, c] - box.height / 2,
            width=box.width,
            kind=box.kind,
            lines=[box.heading, *box.lines],
            tip=box.tip,
        )
    return drawing


def middles(
    by_name: Mapping[str, Box],
    *,
    arrows: Sources,
    column: Mapping[str, int],
    columns: Sequence[Sequence[str]],
) -> tuple[dict[tuple[str, int], float], float]:
    """Stack the boxes and lanes of each column, all columns centred on one horizontal line.

    columns: names of the boxes and lanes of each column. Returns the vertical middle of each by
    (name, column), and the height of the drawing.
    """
    middle: dict[tuple[str, int], float] = {}

    def mean_height_of_sources(name: str, c: int) -> float:
        leading_here = arrows[name] if column[name] == c else [name]
        before = [middle[source, c - 1] for source in leading_here]
        return sum(before) / len(before) if before else 0

    tallest = 0.0
    for c, names in enumerate(columns):
        heights = {name: by_name[name].height if column[name] == c else LANE for name in names}
        whole = sum(heights.values()) + GAP * (len(names) - 1)
        tallest = max(tallest, whole)
        level = {name: mean_height_of_sources(name, c) for name in names}
        top = -whole / 2
        for name in sorted(names, key=lambda name: level[name]):
            middle[name, c] = top + heights[name] / 2
            top += heights[name] + GAP
    return {place: y + tallest / 2 + 1 for place, y in middle.items()}, tallest + 2


def flow_text(boxes: Sequence[Box]) -> str:
    """Describe the chart for screen readers: prepare, made from raw data; ..."""
    heading = {box.name: box.heading for box in boxes}
    return "; ".join(
        f"{box.heading}, made from {' and '.join(heading[source] for source in box.sources)}"
        for box in boxes
        if box.sources
    )
