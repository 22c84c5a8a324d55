"""Draw the tree of item codes: an icicle of its largest branches."""

# I items, M codes of an item
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from glta.methods.exhibit import ExhibitPicture
from glta.pictures.svg import PALETTE, Drawing

BRANCHES = 12
"""First codes that are shown, those with the most items."""
LEVELS = 3
HEIGHT = 460.0
TOP = 24.0
WIDTHS = (150.0, 110.0, 110.0)
"""Width of the bars of each level."""
NAMES_WIDTH = 420.0
SMALLEST = 2.0
"""Bars of less height are drawn as one."""
LETTERS = 11.0
"""The least height of a bar with a label."""
CUT = 30
"""Most characters of a name; longer ones are cut."""


class Node(NamedTuple):
    """Hold a code below a prefix, with its items."""

    code: int
    items: np.ndarray


def code_tree_picture(
    codes_IM: np.ndarray, distance_I: np.ndarray, names: Sequence[str] | None = None
) -> ExhibitPicture:
    """Draw the first codes with the most items, and the codes below them.

    distance_I: of each item to the place of its first code; the nearest items are named.
    names: of the items; None: without.
    """
    levels = min(LEVELS, codes_IM.shape[1])
    every = _children(codes_IM, np.arange(len(codes_IM)), 0)
    shown = every[:BRANCHES]
    width = sum(WIDTHS[:levels]) + (NAMES_WIDTH if names is not None else 0)
    items = sum(len(node.items) for node in shown)
    what = f"{len(shown)} of {len(every)} first codes, with {items} of {len(codes_IM)} items"
    drawing = Drawing(width, TOP + HEIGHT, "Tree of codes", what)
    heads = ["first code · items", "second code", "third code"][:levels]
    for x, head in zip(_lefts(), heads, strict=False):
        drawing.text(x, 14, head, kind="muted")
    if names is not None:
        drawing.text(_lefts()[levels] + 6, 14, "items nearest to the first code", kind="muted")
    unit = HEIGHT / items
    top = TOP
    for place, node in enumerate(shown):
        kind = f"m{place % len(PALETTE)}"
        height = len(node.items) * unit
        _draw(drawing, codes_IM[:, :levels], node, (), top=top, unit=unit, kind=kind)
        if names is not None and height >= LETTERS:
            near = node.items[np.argsort(distance_I[node.items], kind="stable")[:2]]
            text = " · ".join(_short(names[item]) for item in near)
            drawing.text(_lefts()[levels] + 6, top + min(height / 2 + 4, 14), text)
        top += height
    caption = (
        f"{what}. A bar is a code below those to its left; its height is its number of items. "
        "Grey bars stand for several codes with few items."
    )
    return ExhibitPicture(title="Tree of codes", caption=caption, svg=drawing.svg())


def _lefts() -> list[float]:
    """Return where each level begins, and where the last one ends."""
    return [float(x) for x in np.cumsum([0.0, *WIDTHS])]


def _children(codes_IM: np.ndarray, items: np.ndarray, level: int) -> list[Node]:
    """Return the codes of a level among some items, those with the most items first."""
    order = items[np.argsort(codes_IM[items, level], kind="stable")]
    code, first = np.unique(codes_IM[order, level], return_index=True)
    nodes = [Node(int(c), part) for c, part in zip(code, np.split(order, first[1:]), strict=True)]
    return sorted(nodes, key=lambda node: -len(node.items))


def _draw(
    drawing: Drawing,
    codes_IM: np.ndarray,
    node: Node,
    prefix: tuple[int, ...],
    *,
    top: float,
    unit: float,
    kind: str,
) -> None:
    """Draw a code and those below it. unit: height of an item."""
    level = len(prefix)
    path = (*prefix, node.code)
    count = len(node.items)
    x = _lefts()[level]
    height = count * unit
    label = str(node.code) if level else f"{node.code} · {count}"
    tip = f"{'-'.join(map(str, path))}: {count} items"
    _bar(drawing, x, top, WIDTHS[level], height, kind=kind, tip=tip, label=label)
    if level + 1 == codes_IM.shape[1]:
        return
    below = _children(codes_IM, node.items, level + 1)
    large = [child for child in below if len(child.items) * unit >= SMALLEST]
    for child in large:
        _draw(drawing, codes_IM, child, path, top=top, unit=unit, kind=kind)
        top += len(child.items) * unit
    if small := below[len(large) :]:
        rest = sum(len(child.items) for child in small)
        tip = f"{'-'.join(map(str, path))}: {len(small)} more codes with {rest} items"
        left = _lefts()[level + 1]
        width = WIDTHS[level + 1]
        label = f"{len(small)} more"
        _bar(drawing, left, top, width, rest * unit, kind="muted", tip=tip, label=label)


def _bar(
    drawing: Drawing,
    x: float,
    top: float,
    width: float,
    height: float,
    *,
    kind: str,
    tip: str,
    label: str,
) -> None:
    """Draw a bar, with a label where it is high enough."""
    gap = min(1.0, height / 4)
    drawing.bar(x, top, width - 2, height - gap, kind=kind, tip=tip, opacity=0.3)
    if height >= LETTERS:
        drawing.text(x + 6, top + min(height / 2 + 4, 14), label)


def _short(name: str) -> str:
    """Return the beginning of a name, without characters that cannot be printed."""
    shown = "".join(letter for letter in name if letter.isprintable())
    return shown if len(shown) <= CUT else f"{shown[: CUT - 1]}…"
