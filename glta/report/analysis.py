"""Compute what the report says about one dataset: means, intervals and paired comparisons."""

# U users, M metrics
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from glta.evaluation.evaluated import Evaluated
from glta.evaluation.metrics import ACCURACY, NEW_GROUPS
from glta.evaluation.significance import (
    Comparison,
    bootstrap,
    compare_paired,
    enough_resamples,
    holm,
    interval,
    over_seeds,
)
from glta.params.model import Params
from glta.report.known import base_of, is_ablation

RESAMPLING_SEED = 0
"""Seed of all resampling. It is fixed, so that equal lists give equal intervals."""

Intervals = dict[str, tuple[float, float]]
"""Lower and upper limit by metric."""


class Tested(NamedTuple):
    """Hold a comparison of two methods, and its p-value corrected for all comparisons beside it."""

    values: Comparison
    corrected_p: float


@dataclass(frozen=True)
class Analysis:
    """Compute everything that the report says about one dataset.

    params: with the dataset's overrides in place. cells: results by method and seed. A value that
    is computed from users is averaged over a user's seeds first
    (`glta.evaluation.significance`).
    """

    dataset: str
    params: Params
    cells: dict[str, dict[int, Evaluated]]

    @property
    def methods(self) -> list[str]:
        """The evaluated methods, ablations included, from the best to the last by the metric.

        Among equals, and without the metric, they have the order of the parameters.
        """
        means = {method: self.mean(method, self.metric) for method in self.cells}
        return sorted(self.cells, key=lambda method: -(means[method] or 0))

    @property
    def missing(self) -> list[tuple[str, int]]:
        """The methods and seeds that the parameters name and that have no results."""
        return [
            (method, seed)
            for method in self.params.methods
            for seed in self.params.seeds
            if seed not in self.cells.get(method, {})
        ]

    @property
    def metric(self) -> str:
        """The metric that the report tests and draws first: ndcg@20."""
        return self.params.report.metric

    @property
    def metric_cutoff(self) -> str:
        """The cut-off of that metric: 20."""
        return self.metric.partition("@")[2]

    @property
    def reference(self) -> str:
        """The method that the others are tested against."""
        return self.params.reference

    @property
    def cutoffs(self) -> list[int]:
        """The list lengths K at which metrics are measured, ascending."""
        return sorted(self.params.evaluate.cutoffs)

    @property
    def columns(self) -> list[str]:
        """The accuracy metrics at every cut-off, all of which are tested: precision@5, ..."""
        return [f"{name}@{k}" for k in self.cutoffs for name in ACCURACY]

    @property
    def alpha(self) -> float:
        """The level of significance."""
        return 1 - self.params.report.confidence

    @cached_property
    def splits(self) -> dict[int, Evaluated]:
        """One cell for each seed, in the order of the parameters.

        Read the description of the split from it, which is equal for all methods.
        """
        by_seed: dict[int, Evaluated] = {}
        for seeds in self.cells.values():
            for seed, cell in seeds.items():
                by_seed.setdefault(seed, cell)
        return {seed: by_seed[seed] for seed in self.params.seeds if seed in by_seed}

    @property
    def any_cell(self) -> Evaluated | None:
        """A cell of the first seed that has results, or None without results."""
        return next(iter(self.splits.values()), None)

    @property
    def summary(self) -> dict[str, Any]:
        """The description of the first split, empty without results."""
        return self.any_cell.summary if self.any_cell else {}

    def per_seed(self, method: str, metric: str) -> list[float]:
        """Return a method's values of one metric, one for each seed that has it.

        A group of users or items may be empty in some seeds.
        """
        cells = self.cells[method].values()
        return [cell.metrics[metric] for cell in cells if metric in cell.metrics]

    def mean(self, method: str, metric: str) -> float | None:
        """Average a metric over seeds; None when no seed has it."""
        values = self.per_seed(method, metric)
        return float(np.mean(values)) if values else None

    def known_mean(self, method: str, metric: str) -> float:
        """Average a metric over seeds. Raises ValueError when no seed has it."""
        mean = self.mean(method, metric)
        if mean is None:
            raise ValueError(
                f"{self.dataset}, {method}: {metric} was not measured: evaluate the method again"
            )
        return mean

    def spread(self, method: str, metric: str) -> float | None:
        """Compute the standard deviation over seeds (n - 1); None for fewer than two."""
        values = self.per_seed(method, metric)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def best(self, metric: str) -> str | None:
        """Return the method with the highest mean, or None when no method has the metric.

        Among equals, the first one of `methods` is returned.
        """
        means = {method: self.mean(method, metric) for method in self.methods}
        known = {method: mean for method, mean in means.items() if mean is not None}
        return max(known, key=lambda method: known[method]) if known else None

    def users(self, method: str, *, cold: bool | None = None) -> np.ndarray:
        """Average each user's accuracy over seeds.

        cold: True for cold users alone, False for warm users alone, None for all. Returns (U, M)
        with the metrics of `columns`.
        """
        frames = [cell.users for cell in self.cells[method].values()]
        if cold is not None:
            limit = self.params.evaluate.cold_user_items
            frames = [frame.filter((frame["num_train"] <= limit) == cold) for frame in frames]
        return over_seeds(frames, self.columns).drop("user").to_numpy()

    def _intervals(self, values_UM: np.ndarray) -> Intervals:
        """Compute the bootstrap interval of each metric's mean; empty for fewer than two users."""
        if len(values_UM) < 2:
            return {}
        report = self.params.report
        samples = bootstrap(values_UM, resamples=report.resamples, seed=RESAMPLING_SEED)
        lows, highs = interval(samples, report.confidence)
        return {
            column: (float(low), float(high))
            for column, low, high in zip(self.columns, lows, highs, strict=True)
        }

    @cached_property
    def intervals(self) -> dict[str, Intervals]:
        """The bootstrap interval of the mean over users, by method and metric."""
        return {method: self._intervals(self.users(method)) for method in self.methods}

    @cached_property
    def group_intervals(self) -> dict[str, dict[str, Intervals]]:
        """The bootstrap interval within a group of users, by group, method and metric."""
        return {
            group: {method: self._intervals(self.users(method, cold=cold)) for method in self.cells}
            for group, cold in {"cold_users": True, "warm_users": False}.items()
        }

    @property
    def _others(self) -> list[tuple[str, str]]:
        return [(self.reference, method) for method in self.methods if method != self.reference]

    @cached_property
    def tests(self) -> dict[str, dict[str, Tested]]:
        """The reference minus each other method, by other method and metric.

        Each pair is compared over the users and seeds that both methods have. p is corrected over
        all comparisons of the dataset.
        """
        return self._compared(self._others, self.columns)

    @cached_property
    def ablation_tests(self) -> dict[str, Tested]:
        """Each ablation's base method minus the ablation in the report's metric, by ablation.

        p is corrected over the ablations alone.
        """
        pairs = [(base_of(method), method) for method in self.methods if is_ablation(method)]
        found = self._compared(pairs, [self.metric])
        return {method: tests[self.metric] for method, tests in found.items()}

    @cached_property
    def new_columns(self) -> list[str]:
        """The metrics of items without training users at the report's cut-off: new_items/ndcg@20.

        Empty when no test pair has such an item.
        """
        wanted = [
            f"{group}/{name}@{self.metric_cutoff}"
            for group in NEW_GROUPS
            for name in ("ndcg", "recall")
        ]
        cells = [cell for seeds in self.cells.values() for cell in seeds.values()]
        measured = any(set(wanted) <= set(cell.users.columns) for cell in cells)
        return wanted if measured else []

    @cached_property
    def new_tests(self) -> dict[str, dict[str, Tested]]:
        """As `tests`, in `new_columns`, over the users who have a new item in test.

        p is corrected over these comparisons alone.
        """
        return self._compared(self._others, self.new_columns) if self.new_columns else {}

    def _compared(
        self, pairs: Sequence[tuple[str, str]], columns: list[str]
    ) -> dict[str, dict[str, Tested]]:
        """Compare pairs of methods, the first minus the second, and correct p over all of them.

        Returns comparisons by second method and column. Pairs without common users are left out.
        """
        report = self.params.report
        pairs = [(one, other) for one, other in pairs if one in self.cells and other in self.cells]
        flips = enough_resamples(
            max(len(pairs), 1) * len(columns),
            confidence=report.confidence,
            at_least=report.resamples,
        )
        found: dict[str, list[Comparison]] = {}
        for one, other in pairs:
            values = self._values_of_both(one, other, columns)
            if len(values) < 2:
                continue
            found[other] = compare_paired(
                values[:, : len(columns)],
                values[:, len(columns) :],
                confidence=report.confidence,
                resamples=report.resamples,
                seed=RESAMPLING_SEED,
                flips=flips,
            )
        corrected = holm(np.array([[c.p for c in comparisons] for comparisons in found.values()]))
        tested = {}
        for (method, comparisons), row in zip(found.items(), corrected, strict=True):
            tested[method] = {
                column: Tested(comparison, float(p))
                for column, comparison, p in zip(columns, comparisons, row, strict=True)
            }
        return tested

    def _values_of_both(self, one: str, other: str, columns: list[str]) -> np.ndarray:
        """Average each user's values over the seeds of both methods.

        Returns (U, 2 * M), the first method's columns first, with the users whom both have.
        """
        ours = self.cells[one]
        theirs = self.cells[other]
        shared = [
            seed
            for seed in ours
            if seed in theirs
            and set(columns) <= set(ours[seed].users.columns)
            and set(columns) <= set(theirs[seed].users.columns)
        ]
        if not shared:
            return np.empty((0, 2 * len(columns)))
        left, right = (
            over_seeds([cells[seed].users.drop_nulls(columns) for seed in shared], columns)
            for cells in (ours, theirs)
        )
        both = left.join(right, on="user", how="inner", suffix="/other", maintain_order="left")
        return both.drop("user").to_numpy()

    def significant(self, method: str, metric: str) -> int:
        """Tell how a method differs from the reference: 1 better, -1 worse, 0 not significant."""
        return self.direction(self.tests.get(method, {}).get(metric))

    def direction(self, test: Tested | None) -> int:
        """Tell how the other method of a test differs: 1 better, -1 worse, 0 not significant."""
        if test is None or test.corrected_p >= self.alpha:
            return 0
        return -1 if test.values.difference > 0 else 1


def shares_of_best(analyses: Sequence[Analysis]) -> dict[str, dict[str, float]]:
    """Divide each mean of the report's metric by the highest one of its dataset.

    Returns shares by method and dataset, the method with the highest mean share first. Ablations
    are left out.
    """
    shares: dict[str, dict[str, float]] = {}
    for a in analyses:
        highest = max(a.known_mean(method, a.metric) for method in a.methods) or 1.0
        for method in a.methods:
            if not is_ablation(method):
                share = a.known_mean(method, a.metric) / highest
                shares.setdefault(method, {})[a.dataset] = share
    order = sorted(shares, key=lambda m: -sum(shares[m].values()) / len(shares[m]))
    return {method: shares[method] for method in order}
