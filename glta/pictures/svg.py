"""Draw shapes as SVG, with only what the figures of the report and of methods need.

Text stays text. Colours follow the reader's light or dark mode. Equal calls give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

PALETTE = (
    ("#395580", "#63c680"),
    ("#805500", "#ffff00"),
    ("#479cb8", "#aaffff"),
    ("#710000", "#d41c00"),
    ("#d4630e", "#e39c00"),
    ("#631caa", "#c663b8"),
    ("#1c0080", "#8ed4ff"),
    ("#9c8e71", "#9c8e63"),
    ("#8e80f1", "#9c8eff"),
    ("#9c0e55", "#aa5571"),
    ("#6371aa", "#b8e39c"),
    ("#8e47d4", "#8e47d4"),
    ("#9c6363", "#ffc600"),
    ("#470e47", "#c69cc6"),
)
"""Colours of methods, for light and dark mode.

They are as far apart as 14 colours can be for readers with usual sight, protanopia, deuteranopia
and tritanopia, each with a contrast of 3:1 on its ground (a test holds the least distance).
"""

LINE = 15
"""Height of a line of text in a box."""

INK = {
    "ink": ("#17202b", "#e8ecf1"),
    "muted": ("#5a6675", "#9dabbb"),
    "rule": ("#dfe4ea", "#323c49"),
}
"""Colours of text and lines, for light and dark mode."""

Point = tuple[float, float]


def figure_style() -> str:
    """Return the style sheet of all figures.

    Its classes are m0, m1, ... for methods, and ink, muted and rule for everything else.
    """
    colours = INK | {f"m{i}": pair for i, pair in enumerate(PALETTE)}
    light = "".join(f".{name}{{color:{pair[0]}}}" for name, pair in colours.items())
    dark = "".join(f".{name}{{color:{pair[1]}}}" for name, pair in colours.items())
    font = (
        ".fig{font:12px system-ui,'Segoe UI',Roboto,'Helvetica "
        "Neue',Arial,sans-serif;font-variant-numeric:tabular-nums}"
    )
    return f"{font}{light}@media screen and (prefers-color-scheme:dark){{{dark}}}"


def coordinate(value: float) -> str:
    """Write a coordinate with at most two decimals, and without a minus for zero."""
    return f"{round(value, 2) + 0.0:g}"


def attributes(**values: float) -> str:
    """Write coordinates as attributes: x="1" y="2.5"."""
    return " ".join(f'{name}="{coordinate(value)}"' for name, value in values.items())


class Drawing:
    """Collect shapes on a canvas whose y axis points down.

    title, description: what a screen reader says. A shape's `kind` is the class of its colour
    (`figure_style`), and its `tip` is the text that appears when the pointer rests on it.
    """

    def __init__(self, width: float, height: float, title: str, description: str):
        self.width = width
        self.height = height
        self.title = title
        self.description = description
        self.parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        content: str,
        *,
        kind: str = "ink",
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """Write a line of text. y: of its baseline. anchor: start, middle or end, which is at x."""
        weight = ' font-weight="600"' if bold else ""
        where = f'{attributes(x=x, y=y)} text-anchor="{anchor}"{weight}'
        self.parts.append(
            f'<text class="{kind}" {where} fill="currentColor">{escape(content)}</text>'
        )

    def line(self, start: Point, end: Point, *, kind: str = "rule", width: float = 1) -> None:
        """Draw a straight line. width: of the stroke."""
        where = attributes(x1=start[0], y1=start[1], x2=end[0], y2=end[1])
        self.parts.append(
            f'<line class="{kind}" {where} stroke="currentColor" '
            f'stroke-width="{coordinate(width)}"/>'
        )

    def path(
        self, points: Sequence[Point], *, kind: str, width: float = 2, opacity: float = 1
    ) -> None:
        """Connect points with straight lines. width: of the stroke. opacity: in [0, 1]."""
        where = " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in points)
        look = (
            f'fill="none" stroke="currentColor" stroke-width="{coordinate(width)}" '
            f'stroke-linejoin="round" opacity="{opacity:g}"'
        )
        self.parts.append(f'<polyline class="{kind}" points="{where}" {look}/>')

    def bar(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        kind: str,
        tip: str = "",
        opacity: float = 1,
    ) -> None:
        """Fill a rectangle. x, y: its upper left corner. opacity: in [0, 1]."""
        where = attributes(x=x, y=y, width=width, height=height)
        tint = "" if opacity == 1 else f' fill-opacity="{opacity:g}"'
        self.parts.append(
            f'<rect class="{kind}" {where} rx="2" fill="currentColor"{tint}>{_tip(tip)}</rect>'
        )

    def mark(
        self,
        x: float,
        y: float,
        index: int,
        *,
        size: float = 5,
        tip: str = "",
        hollow: bool = False,
    ) -> None:
        """Draw the mark of method number `index`, centred at x, y.

        The first 13 numbers differ in colour and in shape, so a reader needs only one of the two.
        """
        kind = f"m{index % len(PALETTE)}"
        stroke = 'fill="none" stroke="currentColor" stroke-width="1.5"'
        fill = stroke if hollow else 'fill="currentColor"'
        outline = mark_outline(index, size)
        if outline:
            points = " ".join(f"{coordinate(x + a)},{coordinate(y + b)}" for a, b in outline)
            self.parts.append(
                f'<polygon class="{kind}" points="{points}" {fill}>{_tip(tip)}</polygon>'
            )
        else:
            where = attributes(cx=x, cy=y, r=size * 1.1)
            self.parts.append(f'<circle class="{kind}" {where} {fill}>{_tip(tip)}</circle>')

    def box(
        self, x: float, y: float, *, width: float, kind: str, lines: Sequence[str], tip: str
    ) -> None:
        """Write lines into a tinted box, the first one as a heading.

        x, y: the upper left corner. A character takes up to 6.5 units of width, in a heading 8.5.
        """
        where = attributes(x=x, y=y, width=width, height=box_height(len(lines)))
        self.parts.append(
            f'<g font-size="11">{_tip(tip)}<rect class="{kind}" {where} rx="7" fill="currentColor" '
        )
        self.parts.append('fill-opacity="0.08" stroke="currentColor" stroke-opacity="0.6"/>')
        for place, line in enumerate(lines):
            heading = place == 0
            kind_of_line = "ink" if heading else "muted"
            self.text(x + 8, y + 19 + LINE * place, line, kind=kind_of_line, bold=heading)
        self.parts.append("</g>")

    def arrow(self, points: Sequence[Point]) -> None:
        """Draw an arrow through points that lie further and further to the right."""
        (x, y), *rest = points
        path = f"M{coordinate(x)} {coordinate(y)}"
        for x2, y2 in rest:
            half = coordinate((x + x2) / 2 - 3)
            # the last 6 units are straight, so that the tip points to the right
            end = coordinate(x2 - 6)
            path += (
                f"C{half} {coordinate(y)} {half} {coordinate(y2)} {end} {coordinate(y2)}"
                f"H{coordinate(x2)}"
            )
            x = x2
            y = y2
        self.parts.append(
            f'<path class="muted" d="{path}" fill="none" stroke="currentColor" stroke-width="1.4"/>'
        )
        tip = (
            f"{coordinate(x)},{coordinate(y)} {coordinate(x - 6)},{coordinate(y - 3.5)} "
            f"{coordinate(x - 6)},{coordinate(y + 3.5)}"
        )
        self.parts.append(f'<polygon class="muted" points="{tip}" fill="currentColor"/>')

    def svg(self, *, standalone: bool = False) -> str:
        """Return the markup. standalone: with the name space and style that a file needs."""
        width = coordinate(self.width)
        height = coordinate(self.height)
        space = ""
        sheet = ""
        if standalone:
            space = f' xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            sheet = f"<style>{figure_style()}</style>"
        head = f"<title>{escape(self.title)}</title><desc>{escape(self.description)}</desc>"
        label = escape(f"{self.title}. {self.description}", quote=True)
        return (
            f'<svg class="fig"{space} viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{label}">{head}{sheet}{"".join(self.parts)}</svg>'
        )


def mark_outline(index: int, size: float) -> list[Point]:
    """Return the corners of mark number `index` around its centre; empty for a circle.

    There are one fewer shapes than colours. So two methods have the same shape and the same colour
    only when their numbers are 182 apart.
    """
    s = size
    star = [
        (radius * s * math.sin(i * math.pi / 5), -radius * s * math.cos(i * math.pi / 5))
        for i, radius in enumerate([1.6, 0.65] * 5)
    ]
    w = 0.45 * s  # half the width of the arms of plus and cross
    arms = [(-w, -1.3 * s), (w, -1.3 * s), (w, -w), (1.3 * s, -w), (1.3 * s, w), (w, w)]
    plus = [*arms, *((-x, -y) for x, y in arms)]
    turn = math.sqrt(0.5)
    half = [(1.3 * s * math.cos(a), 0.6 * s - 1.3 * s * math.sin(a)) for a in _half_turn()]
    outlines: tuple[list[Point], ...] = (
        [],
        [(-s, -s), (s, -s), (s, s), (-s, s)],
        [(0, -1.3 * s), (1.3 * s, 0), (0, 1.3 * s), (-1.3 * s, 0)],
        [(0, -1.2 * s), (1.2 * s, s), (-1.2 * s, s)],
        star,
        [(0, 1.2 * s), (1.2 * s, -s), (-1.2 * s, -s)],
        plus,
        [(-1.2 * s, 0), (s, -1.2 * s), (s, 1.2 * s)],
        [((x - y) * turn, (x + y) * turn) for x, y in plus],
        [(1.2 * s, 0), (-s, -1.2 * s), (-s, 1.2 * s)],
        [(-s, -1.2 * s), (s, -1.2 * s), (-s, 1.2 * s), (s, 1.2 * s)],
        half,
        [(-1.2 * s, -s), (-1.2 * s, s), (1.2 * s, -s), (1.2 * s, s)],
    )
    return outlines[index % len(outlines)]


def _half_turn(steps: int = 12) -> list[float]:
    """Return angles from 0 to a half turn."""
    return [math.pi * i / steps for i in range(steps + 1)]


def box_height(lines: int) -> float:
    """Return the height of a box with so many lines."""
    return LINE * lines + 14


def _tip(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""
