"""Draw what a dataset looks like: its parts, its numbers of interactions, its ratings."""

from __future__ import annotations

from typing import Any, Literal

from glta.pictures.svg import Drawing
from glta.report.analysis import Analysis
from glta.report.draw.score_figures import WIDTH

PARTS = (
    ("train", "training: graph", "m2"),
    ("target", "training: targets", "m6"),
    ("valid", "validation", "m1"),
    ("test", "test", "m4"),
)
"""Parts of a split: name in counts.json, words and colour."""


def parts_figure(a: Analysis) -> Drawing | None:
    """Draw the sizes of the parts of the first split, as one bar and as a row for each part.

    Returns None when they are not recorded.
    """
    counts = a.summary.get("counts") or {}
    if not {name for name, _, _ in PARTS} <= set(counts):
        return None
    sizes = {name: counts[name] for name, _, _ in PARTS}
    # the targets are training interactions too
    sizes["train"] -= sizes["target"]
    total = sum(sizes.values()) or 1
    description = "; ".join(f"{words} {sizes[name]:,}" for name, words, _ in PARTS)
    d = Drawing(WIDTH, 62 + 20 * len(PARTS), "Interactions in each part", description)
    d.text(6, 14, "interactions in each part", bold=True)
    left = 6.0
    for row, (name, words, colour) in enumerate(PARTS):
        width = (WIDTH - 12) * sizes[name] / total
        y = 76 + 20 * row
        d.bar(left, 26, max(width - 2, 0), 22, kind=colour, tip=f"{words}: {sizes[name]:,}")
        d.bar(6, y - 10, 11, 11, kind=colour)
        d.text(24, y, words, kind="muted")
        d.text(WIDTH - 54, y, f"{sizes[name]:,}", anchor="end")
        d.text(WIDTH - 6, y, f"{sizes[name] / total:.1%}", kind="muted", anchor="end")
        left += width
    return d


def degrees_figure(a: Analysis, side: Literal["user", "item"]) -> Drawing | None:
    """Draw how many users (or items) have how many training interactions, in doubling bins.

    Returns None when this is not recorded.
    """
    degrees = (a.summary.get("counts") or {}).get("degree", {})
    histogram = degrees.get(side, {}).get("histogram", [])
    filled = [place for place, row in enumerate(histogram) if row["count"]]
    if not filled:
        return None
    return histogram_figure(
        histogram[filled[0] :],
        heading=f"{side}s by training interactions",
        counted=f"{side}s",
        form=",",
    )


def ratings_figure(a: Analysis) -> Drawing | None:
    """Draw how often each rating was given in the interactions that the filters left.

    Returns None when there are no ratings.
    """
    rating = (a.summary.get("counts") or {}).get("rating") or {}
    histogram = rating.get("histogram", [])
    if not histogram:
        return None
    return histogram_figure(
        histogram, heading="interactions by rating", counted="interactions", form="g"
    )


def histogram_figure(
    histogram: list[dict[str, Any]], *, heading: str, counted: str, form: str
) -> Drawing:
    """Draw a histogram, one bar below the other.

    histogram: rows with from, to and count. counted: what is counted. form: format of the limits.
    """
    highest = max(row["count"] for row in histogram)
    labels = []
    for row in histogram:
        low = f"{row['from']:{form}}"
        high = f"{row['to']:{form}}"
        labels.append(low if low == high else f"{low} to {high}")
    description = "; ".join(
        f"{label}: {row['count']}" for label, row in zip(labels, histogram, strict=True)
    )
    d = Drawing(WIDTH, 18 * len(histogram) + 30, heading.capitalize(), description)
    d.text(6, 14, heading, bold=True)
    for place, (label, row) in enumerate(zip(labels, histogram, strict=True)):
        y = 26 + 18 * place
        count = row["count"]
        width = (WIDTH - 160) * count / highest
        d.text(94, y + 11, label, kind="muted", anchor="end")
        if count:
            d.bar(102, y + 1, max(1, width), 12, kind="m2", tip=f"{label}: {count:,} {counted}")
        d.text(110 + width, y + 11, f"{count:,}", kind="muted")
    return d
