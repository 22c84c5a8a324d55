"""Boxes and arrows in columns, from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from glta.report.svg import Drawing, box_height

CHANNEL = 24  # width between columns, where arrows bend
GAP = 18  # height between the boxes of a column
LANE = 8  # height that an arrow takes where it passes a column


@dataclass(frozen=True)
class Box:
    """name: what others call it; lines: below the heading; tip: shown on hover; sources: names of
    what it is made from.
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


def direct(boxes: Sequence[Box]) -> dict[str, list[str]]:
    """Return each box's sources without those that also stand behind another of its sources."""
    sources = {box.name: box.sources for box in boxes}

    @cache
    def behind(name: str) -> frozenset[str]:
        return frozenset(sources[name]).union(*map(behind, sources[name]))

    return {
        name: [s for s in own if not any(s in behind(other) for other in own)]
        for name, own in sources.items()
    }


def draw(title: str, boxes: Sequence[Box]) -> Drawing:
    """Put every box one column right of the last of its sources.

    An arrow passes the columns between in a lane of its own.
    """
    arrows, by_name = direct(boxes), {box.name: box for box in boxes}

    @cache
    def column(name: str) -> int:
        return max((column(source) + 1 for source in arrows[name]), default=0)

    reach = {
        name: max([column(n) for n in arrows if name in arrows[n]], default=column(name))
        for name in arrows
    }
    columns = [
        [n for n in arrows if column(n) == c or column(n) < c < reach[n]]
        for c in range(max(reach.values()) + 1)
    ]
    widths = [
        max(by_name[n].width for n in names if column(n) == c) for c, names in enumerate(columns)
    ]
    left = [1 + sum(widths[:c]) + CHANNEL * c for c in range(len(columns))]

    middle: dict[
        tuple[str, int], float
    ] = {}  # of a box, or of the lane of its arrows, by name and column

    def level(name: str, c: int) -> float:
        """Return the mean height of what leads here from the column before."""
        before = [middle[n, c - 1] for n in (arrows[name] if column(name) == c else [name])]
        return sum(before) / len(before) if before else 0

    tallest = 0.0
    for c, names in enumerate(columns):
        heights = {name: by_name[name].height if column(name) == c else LANE for name in names}
        height = sum(heights.values()) + GAP * (len(names) - 1)
        tallest, top = max(tallest, height), -height / 2
        for name in sorted(names, key=lambda n, c=c: level(n, c)):
            middle[name, c] = top + heights[name] / 2
            top += heights[name] + GAP

    def y(name: str, c: int) -> float:
        return middle[name, c] + tallest / 2 + 1

    made = {
        box.heading: " and ".join(by_name[source].heading for source in box.sources)
        for box in boxes
    }
    said = "; ".join(
        f"{heading}, made from {sources}" for heading, sources in made.items() if sources
    )
    d = Drawing(left[-1] + widths[-1] + 1, tallest + 2, title, said)
    for name in arrows:
        for source in arrows[name]:
            start, end = column(source), column(name)
            points = [(left[start] + by_name[source].width, y(source, start))]
            points += [
                (x, y(source, c))
                for c in range(start + 1, end)
                for x in (left[c], left[c] + widths[c])
            ]
            d.arrow([*points, (left[end], y(name, end))])
    for name, box in by_name.items():
        x, top = left[column(name)], y(name, column(name)) - box.height / 2
        d.box(x, top, box.width, box.kind, [box.heading, *box.lines], box.tip)
    return d
