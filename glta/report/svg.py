"""Just enough drawing for the report: text stays text, colours follow the reader's light or dark
mode, bytes never vary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

# Okabe and Ito's colours, told apart with any common colour blindness, darkened until each has 3:1
# contrast on white;
# the second colour of each pair is the one for dark mode.
PALETTE = (
    ("#6b7280", "#a9b2bf"),  # grey
    ("#b07800", "#e6a817"),  # orange
    ("#2b8cc4", "#6cc3f2"),  # sky blue
    ("#0a7d5c", "#2fc596"),  # green
    ("#c0420e", "#ff8a50"),  # vermillion
    ("#a0488a", "#e08ac6"),  # purple
    ("#1d3fa5", "#8ea6ff"),  # blue
    ("#7a5a30", "#c9a26a"),  # brown
)
LINE = 15  # height of a line of text in a box
INK = {
    "ink": ("#17202b", "#e8ecf1"),
    "muted": ("#5a6675", "#9dabbb"),
    "rule": ("#dfe4ea", "#323c49"),
}


def style() -> str:
    """Return the style sheet of all figures: classes m0..m7 for methods, ink, muted and rule for
    the rest.
    """
    names = [*INK, *(f"m{i}" for i in range(len(PALETTE)))]
    pairs = [*INK.values(), *PALETTE]
    light, dark = (
        "".join(f".{n}{{color:{p[mode]}}}" for n, p in zip(names, pairs, strict=True))
        for mode in (0, 1)
    )
    font = (
        ".fig{font:12px system-ui,'Segoe UI',Roboto,'Helvetica "
        "Neue',Arial,sans-serif;font-variant-numeric:tabular-nums}"
    )
    return f"{font}{light}@media screen and (prefers-color-scheme:dark){{{dark}}}"


def number(value: float) -> str:
    """Write a coordinate: two decimals at most, and no minus zero."""
    return f"{round(value, 2) + 0.0:g}"


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Choose about `count` round numbers within [low, high]: 1, 2 or 5 times a power of ten
    apart.
    """
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.8)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_text(value: float) -> str:
    """Write a tick: as short as it can be."""
    return f"{value:g}".replace("-", "−")  # noqa: RUF001 - the typographic minus


class Drawing:
    """Collect shapes.

    `svg()` gives the whole picture, with its title and description for those who cannot see it.
    """

    def __init__(self, width: float, height: float, title: str, description: str):
        self.width, self.height, self.title, self.description = width, height, title, description
        self.parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        content: str,
        kind: str = "ink",
        anchor: str = "start",
        weight: int = 400,
    ) -> None:
        bold = f' font-weight="{weight}"' if weight != 400 else ""
        where = f'x="{number(x)}" y="{number(y)}" text-anchor="{anchor}"{bold}'
        self.parts.append(
            f'<text class="{kind}" {where} fill="currentColor">{escape(content)}</text>'
        )

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        kind: str = "rule",
        width: float = 1,
        dash: str = "",
    ) -> None:
        where = " ".join(
            f'{n}="{number(v)}"' for n, v in (("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2))
        )
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<line class="{kind}" {where} stroke="currentColor" '
            f'stroke-width="{number(width)}"{dashed}/>'
        )

    def path(
        self, points: Sequence[tuple[float, float]], kind: str, width: float = 2, opacity: float = 1
    ) -> None:
        where = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        look = (
            f'fill="none" stroke="currentColor" stroke-width="{number(width)}" '
            f'stroke-linejoin="round" opacity="{opacity:g}"'
        )
        self.parts.append(f'<polyline class="{kind}" points="{where}" {look}/>')

    def bar(
        self, x: float, y: float, width: float, height: float, kind: str, tip: str = ""
    ) -> None:
        where = " ".join(
            f'{n}="{number(v)}"'
            for n, v in (("x", x), ("y", y), ("width", width), ("height", height))
        )
        self.parts.append(
            f'<rect class="{kind}" {where} rx="2" fill="currentColor">{_tip(tip)}</rect>'
        )

    def mark(
        self, x: float, y: float, index: int, size: float = 5, tip: str = "", hollow: bool = False
    ) -> None:
        """Put the mark of method number `index`: colour and shape, so that neither is needed
        alone.
        """
        s = size
        outlines = (
            None,
            [(-s, -s), (s, -s), (s, s), (-s, s)],
            [(0, -1.3 * s), (1.3 * s, 0), (0, 1.3 * s), (-1.3 * s, 0)],
            [(0, -1.2 * s), (1.2 * s, s), (-1.2 * s, s)],
            [
                (r * s * math.sin(i * math.pi / 5), -r * s * math.cos(i * math.pi / 5))
                for i, r in enumerate([1.6, 0.75] * 5)
            ],
            [(0, 1.2 * s), (1.2 * s, -s), (-1.2 * s, -s)],
        )
        fill = (
            'fill="none" stroke="currentColor" stroke-width="1.5"'
            if hollow
            else 'fill="currentColor"'
        )
        kind = f"m{index % len(PALETTE)}"
        if outline := outlines[index % len(outlines)]:
            points = " ".join(f"{number(x + a)},{number(y + b)}" for a, b in outline)
            self.parts.append(
                f'<polygon class="{kind}" points="{points}" {fill}>{_tip(tip)}</polygon>'
            )
        else:
            radius = number(s * 1.1)
            self.parts.append(
                f'<circle class="{kind}" cx="{number(x)}" cy="{number(y)}" r="{radius}" '
                f"{fill}>{_tip(tip)}</circle>"
            )

    def box(
        self, x: float, y: float, width: float, kind: str, lines: Sequence[str], tip: str
    ) -> None:
        """Write lines, the first as a heading, into a tinted box.

        A character takes up to 6.5 units, of a heading 8.5.
        """
        size = (("x", x), ("y", y), ("width", width), ("height", box_height(len(lines))))
        where = " ".join(f'{n}="{number(v)}"' for n, v in size)
        self.parts.append(
            f'<g font-size="11">{_tip(tip)}<rect class="{kind}" {where} rx="7" fill="currentColor" '
        )
        self.parts.append('fill-opacity="0.08" stroke="currentColor" stroke-opacity="0.6"/>')
        for place, line in enumerate(lines):
            self.text(
                x + 8,
                y + 19 + LINE * place,
                line,
                "muted" if place else "ink",
                weight=400 if place else 600,
            )
        self.parts.append("</g>")

    def arrow(self, points: Sequence[tuple[float, float]], kind: str = "muted") -> None:
        """Lead from the first to the last point, always rightwards, with soft bends between."""
        (x, y), *rest = points
        path = f"M{number(x)} {number(y)}"
        for x2, y2 in rest:
            half, end = (
                number((x + x2) / 2 - 3),
                number(x2 - 6),
            )  # the last bit is straight, for the tip
            path += f"C{half} {number(y)} {half} {number(y2)} {end} {number(y2)}H{number(x2)}"
            x, y = x2, y2
        self.parts.append(
            f'<path class="{kind}" d="{path}" fill="none" stroke="currentColor" '
            'stroke-width="1.4"/>'
        )
        tip = (
            f"{number(x)},{number(y)} {number(x - 6)},{number(y - 3.5)} "
            f"{number(x - 6)},{number(y + 3.5)}"
        )
        self.parts.append(f'<polygon class="{kind}" points="{tip}" fill="currentColor"/>')

    def svg(self, standalone: bool = False) -> str:
        """Return the markup; standalone: with the name space and style that a file of its own
        needs.
        """
        size = f'viewBox="0 0 {number(self.width)} {number(self.height)}"'
        space = (
            f' xmlns="http://www.w3.org/2000/svg" width="{number(self.width)}" '
            f'height="{number(self.height)}"'
            if standalone
            else ""
        )
        head = f"<title>{escape(self.title)}</title><desc>{escape(self.description)}</desc>"
        sheet = f"<style>{style()}</style>" if standalone else ""
        label = escape(f"{self.title}. {self.description}", quote=True)
        return (
            f'<svg class="fig"{space} {size} role="img" '
            f'aria-label="{label}">{head}{sheet}{"".join(self.parts)}</svg>'
        )


def box_height(lines: int) -> float:
    """Return how high a box with so many lines is."""
    return LINE * lines + 14


class Axes:
    """Map data to a rectangle of a drawing, and draw its rules and ticks."""

    def __init__(
        self,
        drawing: Drawing,
        box: tuple[float, float, float, float],
        x: tuple[float, float],
        y: tuple[float, float],
    ):
        """box: left, top, right, bottom. x, y: data limits; equal limits are widened."""
        self.drawing, self.box = drawing, box
        self.x_limits, self.y_limits = widen(*x), widen(*y)
        self.ticks_x: list[float] = []

    def x(self, value: float) -> float:
        low, high = self.x_limits
        return self.box[0] + (value - low) / (high - low) * (self.box[2] - self.box[0])

    def y(self, value: float) -> float:
        low, high = self.y_limits
        return self.box[3] - (value - low) / (high - low) * (self.box[3] - self.box[1])

    def x_ticks(self, count: int = 5, rules: bool = True, whole: bool = False) -> None:
        self.ticks_x = [v for v in nice_ticks(*self.x_limits, count) if not whole or v == round(v)]
        for value in self.ticks_x:
            if rules:
                self.drawing.line(self.x(value), self.box[1], self.x(value), self.box[3])
            self.drawing.text(self.x(value), self.box[3] + 16, tick_text(value), "muted", "middle")

    def y_ticks(self, count: int = 4) -> None:
        for value in nice_ticks(*self.y_limits, count):
            self.drawing.line(self.box[0], self.y(value), self.box[2], self.y(value))
            self.drawing.text(self.box[0] - 6, self.y(value) + 4, tick_text(value), "muted", "end")


def widen(low: float, high: float) -> tuple[float, float]:
    """Make limits that differ."""
    return (
        (low, high) if high > low else (low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1))
    )


def _tip(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""
