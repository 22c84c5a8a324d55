"""Give every method its mark in the figures."""

from __future__ import annotations

from glta.report.analysis import Analysis
from glta.report.draw.svg import PALETTE, Drawing
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
    """Return the class of the colour of mark number `index`: m0 to m7."""
    return f"m{index % len(PALETTE)}"


def key(a: Analysis) -> list[tuple[str, str]]:
    """Return the title and the picture of each method's mark, for the key beside the figures."""
    entries = []
    for method in a.methods:
        drawing = Drawing(16, 16, title(method), "")
        drawing.mark(8, 8, mark_number(a, method))
        # the title stands beside the picture, so a screen reader need not read it twice
        picture = drawing.svg().replace(' role="img"', ' aria-hidden="true"')
        entries.append((title(method), picture))
    return entries
