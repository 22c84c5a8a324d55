"""Give every method its mark in the figures."""

from __future__ import annotations

from collections.abc import Iterable

from glta.pictures.svg import PALETTE, Drawing
from glta.report.analysis import Analysis
from glta.report.known import order, title


def mark_number(a: Analysis, method: str) -> int:
    """Return the number of a method's mark, for `Drawing.mark`.

    It is the same in every figure. Registered methods have the same one in every report.
    """
    known = order()
    if method in known:
        return known.index(method)
    return len(known) + a.params.methods.index(method)


def colour_class(index: int) -> str:
    """Return the class of the colour of mark number `index`: m0, m1, ..."""
    return f"m{index % len(PALETTE)}"


def key(a: Analysis) -> list[tuple[str, int]]:
    """Return the title and the mark number of each method, for the key beside the figures."""
    return [(title(method), mark_number(a, method)) for method in a.methods]


def mark_shapes(numbers: Iterable[int]) -> dict[int, str]:
    """Return marks as shapes around the middle of 16 units, by number, to be used on the page."""
    shapes = {}
    for number in sorted(set(numbers)):
        drawing = Drawing(16, 16, "", "")
        drawing.mark(8, 8, number)
        shapes[number] = "".join(drawing.parts)
    return shapes
