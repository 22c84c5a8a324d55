"""Compare the reference with each other method over all datasets together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from glta.evaluation.significance import Comparison, compare_paired
from glta.report.analysis import RESAMPLING_SEED, Analysis, Tested, family


class Across(NamedTuple):
    """Hold the reference minus one other method, as means over datasets that count alike.

    values: the comparison. test: None for a method of report.not_tuned. reason: why it is one.
    wins: the number of datasets in which the reference has the higher test mean.
    """

    values: Comparison
    test: Tested | None
    reason: str
    wins: int


def with_results(analyses: Sequence[Analysis]) -> list[Analysis]:
    """Leave out the datasets without results."""
    return [a for a in analyses if a.cells]


def compared_across(analyses: Sequence[Analysis]) -> dict[str, Across]:
    """Compare the reference with each method that was evaluated on every dataset with results.

    Returns comparisons by other method, the largest difference last. They are a family of their
    own, over which p is corrected. Empty for fewer than two datasets.
    """
    found = with_results(analyses)
    if len(found) < 2:
        return {}
    first = found[0]
    report = first.params.report
    metric = first.metric
    shared = [m for m in first.others if all(m in a.comparisons for a in found)]
    differences = {m: [a.differences(a.reference, m, [metric]) for a in found] for m in shared}
    reasons = {m: _reason(found, m) for m in shared}
    tests = family({m: differences[m] for m in shared if not reasons[m]}, flips=report.flips)
    compared = {}
    for method in shared:
        (values,) = compare_paired(
            [frame.drop("user").to_numpy() for frame in differences[method]],
            confidence=report.confidence,
            resamples=report.resamples,
            seed=RESAMPLING_SEED,
        )
        wins = sum(a.comparisons[method][metric].difference > 0 for a in found)
        compared[method] = Across(values, tests.get(method), reasons[method], wins)
    return dict(sorted(compared.items(), key=lambda pair: pair[1].values.difference))


def _reason(found: Sequence[Analysis], method: str) -> str:
    """Write on which datasets a method is not tested, and why; "" when it is on all."""
    return "; ".join(f"{a.dataset}: {why}" for a in found if (why := a.why_untested(method)))
