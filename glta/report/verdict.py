"""State in one sentence how the reference compares with its best rival on a dataset."""

from __future__ import annotations

from typing import Literal, NamedTuple

from glta.evaluation.significance import Comparison
from glta.report.analysis import Analysis
from glta.report.known import title
from glta.report.wording import effect_text, metric_title, number, p_text, signed


class Verdict(NamedTuple):
    """Hold the result of a dataset in words.

    kind: win or loss of the reference, tie (not significant, or a win beside a loss), untested
    (the reference has no results or no tested rival) or nothing (nothing to compare). headline: who
    wins, and the size of the effect. text: by how much, and how sure.
    """

    kind: Literal["win", "loss", "tie", "untested", "nothing"]
    headline: str
    text: str


def verdict(a: Analysis) -> Verdict:
    """Compare the reference with the rival that was chosen on validation, in the report's metric.

    No choice is made by test values. A method that is higher on test than the rival is named.
    """
    best = a.best(a.metric)
    if best is None:
        return Verdict("nothing", "Nothing evaluated yet", "No results of this dataset were found.")
    highest = f"{metric_title(a.metric)} {a.known_mean(best, a.metric):.4f}"
    if len(a.methods) == 1:
        text = f"{highest}, and no other method to compare with."
        return Verdict("nothing", f"Only {title(best)} was run", text)
    if reason := _untested(a):
        return Verdict("untested", f"{title(best)} is highest on test", f"{highest}. {reason}")
    return _against_rival(a)


def _untested(a: Analysis) -> str:
    """Write why the reference cannot be tested against a rival; "" when it can."""
    reference = f"{title(a.reference)}, the reference,"
    if a.reference not in a.cells or not a.comparisons:
        return f"{reference} has no results to test against."
    if a.reference in a.not_tuned:
        return f"{reference} is not tested. It is not at its best: {a.not_tuned[a.reference]}."
    if not a.tests:
        return f"{reference} is not tested, as all other methods are not at their best."
    if a.rival is None:
        return "No rival is named, as no method was measured on validation."
    return ""


def _against_rival(a: Analysis) -> Verdict:
    """Write the verdict when the reference was tested against a rival."""
    rival = a.rival or ""
    label = metric_title(a.metric)
    ours = title(a.reference)
    theirs = title(rival)
    values = a.comparisons[rival][a.metric]
    # the difference is over these seeds
    shared = a.shared_seeds(a.reference, rival, [a.metric])
    mean = a.known_mean(rival, a.metric, seeds=shared)
    reached = a.known_mean(a.reference, a.metric, seeds=shared)
    gap = f"{abs(values.difference):.4f}"
    share = f" ({abs(values.difference) / mean:.1%})" if mean else ""
    side = "above" if values.difference > 0 else "below"
    sign = a.significant(rival)
    text = (
        f"{ours} reaches {label} {reached:.4f}. This is {gap}{share} "
        f"{side} {theirs} at {mean:.4f}, the best other method on validation ({ours} minus "
        f"{theirs}: {_evidence(a, rival, values)}).{'' if sign else ' This may be chance.'}"
        f"{_higher_on_test(a, rival)}"
    )
    effect = f"effect {effect_text(values.effect)}"
    if not sign:
        return Verdict("tie", f"No clear winner between {ours} and {theirs} ({effect})", text)
    if sign > 0:
        return Verdict("loss", f"{theirs} beats {ours} by {gap} {label} ({effect})", text)
    headline = f"{ours} beats {theirs} by {gap} {label} ({effect})"
    better = [title(method) for method in a.tests if a.significant(method) > 0]
    if better:
        return Verdict("tie", f"{headline}, and loses to {', '.join(better)}", text)
    return Verdict("win", headline, text)


def _evidence(a: Analysis, rival: str, values: Comparison) -> str:
    """Write interval, corrected p, and the spread of the difference over seeds."""
    spread = a.difference_spread(a.reference, rival, a.metric)
    over_seeds = (
        "one seed, so no spread over seeds"
        if spread is None
        else f"standard deviation over seeds {number(spread)}"
    )
    return (
        f"{a.params.report.confidence:.0%} interval over users {signed(values.low)} to "
        f"{signed(values.high)}, {over_seeds}, {p_text(a.tests[rival].corrected_p)} after Holm's "
        f"correction over {len(a.tests)} test{'s' if len(a.tests) > 1 else ''}"
    )


def _higher_on_test(a: Analysis, rival: str) -> str:
    """Name the other method that is highest on test, in a sentence; "" when it is the rival."""
    highest = max(a.others, key=lambda method: a.known_mean(method, a.metric))
    mean = a.known_mean(highest, a.metric)
    if mean <= a.known_mean(rival, a.metric):
        return ""
    note = ", which is not at its best here," if highest in a.not_tuned else ""
    return f" On test, {title(highest)}{note} is the highest of the other methods: {mean:.4f}."
