"""State in one sentence which method wins on a dataset."""

from __future__ import annotations

from typing import Literal, NamedTuple

from glta.report.analysis import Analysis
from glta.report.known import title
from glta.report.wording import metric_title, p_text, signed


class Verdict(NamedTuple):
    """Hold the result of a dataset in words.

    kind: win or loss of the reference, tie (not significant), untested (the reference has no
    results) or nothing (nothing to compare). headline: who wins. text: by how much, and how sure.
    """

    kind: Literal["win", "loss", "tie", "untested", "nothing"]
    headline: str
    text: str


def verdict(a: Analysis) -> Verdict:
    """Compare the reference with the best of the other methods in the report's metric."""
    best = a.best(a.metric)
    if best is None:
        return Verdict("nothing", "Nothing evaluated yet", "No results of this dataset were found.")
    label = metric_title(a.metric)
    highest = f"{label} {a.known_mean(best, a.metric):.4f}"
    if len(a.methods) == 1:
        text = f"{highest}, and no other method to compare with."
        return Verdict("nothing", f"Only {title(best)} was run", text)
    if a.reference not in a.cells or not a.tests:
        text = f"{highest}. {title(a.reference)}, the reference, has no results to test against."
        return Verdict("untested", f"{title(best)} is highest", text)
    return _against_best_other(a)


def _against_best_other(a: Analysis) -> Verdict:
    """Write the verdict when the reference was tested against at least one other method."""
    label = metric_title(a.metric)
    rival = max(a.tests, key=lambda method: a.known_mean(method, a.metric))
    ours = a.known_mean(a.reference, a.metric)
    theirs = a.known_mean(rival, a.metric)
    ours_title = title(a.reference)
    rival_title = title(rival)
    values, p = a.tests[rival][a.metric]
    share = f" ({abs(values.difference) / theirs:.1%})" if theirs else ""
    distance = f"{abs(values.difference):.4f}{share}"
    evidence = (
        f"{a.params.report.confidence:.0%} interval {signed(values.low)} to {signed(values.high)}, "
        f"{p_text(p)} after Holm's correction"
    )
    if p >= a.alpha:
        ahead, behind = (
            (ours_title, rival_title) if values.difference > 0 else (rival_title, ours_title)
        )
        text = (
            f"{ahead} is ahead of {behind} by {distance} in {label}, but the difference may be "
            f"chance ({ours_title} minus {rival_title}: {evidence})."
        )
        return Verdict("tie", f"No clear winner between {ours_title} and {rival_title}", text)
    if values.difference > 0:
        text = (
            f"Its {label} is {ours:.4f}. This is {distance} above the best of the other methods, "
            f"{rival_title} at {theirs:.4f} ({evidence})."
        )
        return Verdict("win", f"{ours_title} wins", text)
    text = (
        f"{ours_title} reaches {label} {ours:.4f}. This is {distance} below {rival_title} at "
        f"{theirs:.4f} ({ours_title} minus {rival_title}: {evidence})."
    )
    return Verdict("loss", f"{rival_title} wins, not {ours_title}", text)
