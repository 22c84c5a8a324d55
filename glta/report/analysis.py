"""Compute what the report says about one dataset: means, intervals and paired comparisons."""

# U users, M metrics
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from glta.evaluation.evaluated import Evaluated
from glta.evaluation.metrics import ACCURACY, NEW_GROUPS
from glta.evaluation.significance import (
    Comparison,
    bootstrap,
    compare_paired,
    holm,
    interval,
    over_seeds,
    randomisation_test,
    shares_of_mean,
)
from glta.params.model import Params
from glta.report.known import base_of, is_ablation, title

RESAMPLING_SEED = 0
"""Seed of all resampling. It is fixed, so that equal lists give equal intervals."""

Intervals = dict[str, tuple[float, float]]
"""Lower and upper limit by metric."""


Pair = tuple[str, str]
"""Two methods; the second one is subtracted from the first one."""


def side_by_side(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[list[str], np.ndarray]]:
    """Put the columns of arrays with equally many rows into one array, to share its random draws.

    The draws depend on the number of rows and the seed alone, so each column is resampled as it
    would be alone. arrays: (U, M), U may differ. Yields names and (U, names * M), without arrays of
    fewer than two rows.
    """
    by_height: dict[int, list[str]] = {}
    for name, array in arrays.items():
        by_height.setdefault(len(array), []).append(name)
    for height, names in by_height.items():
        if height > 1:
            yield names, np.hstack([arrays[name] for name in names])


class Tested(NamedTuple):
    """Hold the test of a comparison: p alone, and corrected for the whole family of tests."""

    p: float
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
        """The evaluated methods, ablations included, from the highest to the lowest test mean.

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
        """The one metric that the report tests, and draws first: ndcg@20."""
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
    def not_tuned(self) -> dict[str, str]:
        """Why a method is weaker than it could be, by method: report.not_tuned of this dataset."""
        return self.params.report.reasons(self.dataset)

    def why_untested(self, method: str) -> str:
        """Write why the reference is not tested against a method; "" when it is.

        Either of the two may be in `not_tuned`.
        """
        named = [m for m in (method, self.reference) if m in self.not_tuned]
        return "; ".join(self.not_tuned[m] for m in named)

    @property
    def cutoffs(self) -> list[int]:
        """The list lengths K at which metrics are measured, ascending."""
        return sorted(self.params.evaluate.cutoffs)

    @property
    def columns(self) -> list[str]:
        """The accuracy metrics at every cut-off: precision@5, ..."""
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

    def seeds_with(self, method: str, metric: str) -> list[int]:
        """Return a method's seeds that have a metric.

        A group of users or items may be empty in some seeds.
        """
        return [seed for seed, cell in self.cells[method].items() if metric in cell.metrics]

    def per_seed(self, method: str, metric: str) -> list[float]:
        """Return a method's values of one metric, one for each of `seeds_with`."""
        return [self.cells[method][s].metrics[metric] for s in self.seeds_with(method, metric)]

    def mean(
        self, method: str, metric: str, *, seeds: Collection[int] | None = None
    ) -> float | None:
        """Average a metric over seeds; None when no seed has it. seeds: those that count."""
        values = [
            self.cells[method][seed].metrics[metric]
            for seed in self.seeds_with(method, metric)
            if seeds is None or seed in seeds
        ]
        return float(np.mean(values)) if values else None

    def seeds_note(self, seeds: Collection[int]) -> str:
        """Write that some of the dataset's seeds are missing: " (1 of 2 seeds)"; "" for none.

        seeds: those that a value is the mean over.
        """
        every = self.splits
        return f" ({len(seeds)} of {len(every)} seeds)" if len(seeds) < len(every) else ""

    def named(self, method: str) -> str:
        """Return the title of a method, with a note where it has fewer seeds than the others."""
        return title(method) + self.seeds_note(self.cells.get(method, self.splits))

    def is_comparable(self, metric: str) -> bool:
        """Tell whether the means of all methods that have a metric run over the same seeds."""
        found = {frozenset(self.seeds_with(method, metric)) for method in self.cells}
        return len(found - {frozenset()}) <= 1

    def known_mean(
        self, method: str, metric: str, *, seeds: Collection[int] | None = None
    ) -> float:
        """Average a metric over seeds. Raises ValueError when no seed has it."""
        mean = self.mean(method, metric, seeds=seeds)
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

        Among equals, the first one of `methods` is returned. With a test metric, the answer
        describes the test and must choose nothing.
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

    def _intervals(self, values: Mapping[str, np.ndarray]) -> dict[str, Intervals]:
        """Compute the bootstrap interval of each metric's mean, by method and metric.

        values: (U, M) of each method. Methods with fewer than two users have no intervals.
        """
        report = self.params.report
        found: dict[str, Intervals] = {method: {} for method in values}
        for methods, values_UM in side_by_side(values):
            samples = bootstrap(values_UM, resamples=report.resamples, seed=RESAMPLING_SEED)
            limits = np.stack(interval(samples, report.confidence), axis=1)
            for method, of_method in zip(methods, np.split(limits, len(methods)), strict=True):
                found[method] = {
                    column: (float(low), float(high))
                    for column, (low, high) in zip(self.columns, of_method, strict=True)
                }
        return found

    @cached_property
    def intervals(self) -> dict[str, Intervals]:
        """The bootstrap interval of the mean over users, by method and metric."""
        return self._intervals({method: self.users(method) for method in self.methods})

    @cached_property
    def group_intervals(self) -> dict[str, dict[str, Intervals]]:
        """The bootstrap interval within a group of users, by group, method and metric."""
        return {
            group: self._intervals({name: self.users(name, cold=cold) for name in self.cells})
            for group, cold in {"cold_users": True, "warm_users": False}.items()
        }

    @cached_property
    def others(self) -> list[str]:
        """The methods that the reference is compared with: the evaluated ones, no ablations."""
        if self.reference not in self.cells:
            return []
        return [m for m in self.methods if m != self.reference and not is_ablation(m)]

    @cached_property
    def comparisons(self) -> dict[str, dict[str, Comparison]]:
        """The reference minus each other method, by other method and metric.

        Each pair is compared over the users and seeds that both methods have.
        """
        return self._compared([(self.reference, other) for other in self.others], self.columns)

    @cached_property
    def tests(self) -> dict[str, Tested]:
        """The tests of the reference against each other method in the report's metric.

        They are one family, over which p is corrected. No method of `not_tuned` is in it: a win
        over a method that is known to be weak shows nothing. Empty where the reference is one.
        """
        return self._tested([(self.reference, other) for other in self.others])

    @cached_property
    def rival(self) -> str | None:
        """The best of the tested other methods by the report's metric on validation.

        It is therefore named before any test value is read. None when no tested method was
        measured on validation.
        """
        on_validation = {m: self.mean(m, f"valid/{self.metric}") for m in self.tests}
        known = {m: mean for m, mean in on_validation.items() if mean is not None}
        # the order of the parameters decides between equals, as the order of `tests` is by test
        order = [m for m in self.params.methods if m in known]
        return max(order, key=lambda m: known[m]) if order else None

    @cached_property
    def ablation_comparisons(self) -> dict[str, Comparison]:
        """Each ablation's base method minus the ablation in the report's metric, by ablation."""
        found = self._compared(self._ablation_pairs, [self.metric])
        return {ablation: by_metric[self.metric] for ablation, by_metric in found.items()}

    @cached_property
    def ablation_tests(self) -> dict[str, Tested]:
        """The tests of `ablation_comparisons`, by ablation: a family of their own."""
        return self._tested(self._ablation_pairs)

    @property
    def _ablation_pairs(self) -> list[Pair]:
        pairs = [(base_of(method), method) for method in self.methods if is_ablation(method)]
        return [(base, ablation) for base, ablation in pairs if base in self.cells]

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
    def new_comparisons(self) -> dict[str, dict[str, Comparison]]:
        """As `comparisons`, in `new_columns`, over the users who have a new item in test."""
        pairs = [(self.reference, other) for other in self.others]
        return self._compared(pairs, self.new_columns) if self.new_columns else {}

    def _compared(
        self, pairs: Iterable[Pair], columns: list[str]
    ) -> dict[str, dict[str, Comparison]]:
        """Compare pairs of methods; returns comparisons by second method and column.

        Pairs with fewer than two common users are left out.
        """
        report = self.params.report
        differences = {
            other: self.differences(one, other, columns).drop("user").to_numpy()
            for one, other in pairs
        }
        found = {}
        for others, differences_UM in side_by_side(differences):
            values = compare_paired(
                [differences_UM],
                confidence=report.confidence,
                resamples=report.resamples,
                seed=RESAMPLING_SEED,
            )
            for place, other in enumerate(others):
                of_other = values[place * len(columns) :][: len(columns)]
                found[other] = dict(zip(columns, of_other, strict=True))
        return {other: found[other] for other in differences if other in found}

    def _tested(self, pairs: Iterable[Pair]) -> dict[str, Tested]:
        """Test pairs of methods in the report's metric as one family; returns by second method.

        Left out are pairs with a method of `not_tuned` or with fewer than two common users.
        """
        frames = {
            other: frame
            for one, other in pairs
            if not {one, other} & self.not_tuned.keys()
            and (frame := self.differences(one, other, [self.metric])).height > 1
        }
        return family({m: [frame] for m, frame in frames.items()}, flips=self.params.report.flips)

    def shared_seeds(self, one: str, other: str, columns: Collection[str]) -> list[int]:
        """Return the seeds for which two methods both have columns of users."""
        ours = self.cells[one]
        theirs = self.cells[other]
        return [
            seed
            for seed in ours
            if seed in theirs
            and set(columns) <= set(ours[seed].users.columns)
            and set(columns) <= set(theirs[seed].users.columns)
        ]

    def differences(self, one: str, other: str, columns: list[str]) -> pl.DataFrame:
        """Subtract two methods' values of each user, averaged over the seeds of both methods.

        Returns user and the columns, with the users whom both methods have, sorted.
        """
        shared = self.shared_seeds(one, other, columns)
        if not shared:
            empty = dict.fromkeys(columns, pl.Float64)
            return pl.DataFrame(schema={"user": pl.Int32, **empty})
        left, right = (
            over_seeds([cells[seed].users.drop_nulls(columns) for seed in shared], columns)
            for cells in (self.cells[one], self.cells[other])
        )
        both = left.join(right, on="user", how="inner", suffix="/other", maintain_order="left")
        return both.select(
            "user", *(pl.col(column) - pl.col(f"{column}/other") for column in columns)
        )

    def difference_spread(self, one: str, other: str, metric: str) -> float | None:
        """Compute the standard deviation over seeds (n - 1) of the difference of two methods.

        None for fewer than two seeds that both methods have.
        """
        ours = self.cells[one]
        theirs = self.cells[other]
        values = [
            ours[seed].metrics[metric] - theirs[seed].metrics[metric]
            for seed in ours
            if seed in theirs and metric in ours[seed].metrics and metric in theirs[seed].metrics
        ]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def significant(self, method: str) -> int:
        """Tell how a method differs from the reference in the report's metric.

        Returns 1 better, -1 worse, 0 not significant or not tested.
        """
        if method not in self.tests or self.tests[method].corrected_p >= self.alpha:
            return 0
        return -1 if self.comparisons[method][self.metric].difference > 0 else 1


def family(differences: Mapping[str, Sequence[pl.DataFrame]], *, flips: int) -> dict[str, Tested]:
    """Test comparisons as one family: a randomisation test of each, corrected by Holm over all.

    differences: by name, one frame for each dataset, with the column user and one of differences.
    All comparisons have the same datasets, in the same order. Signs are flipped for each user
    within each dataset, and a comparison's value is the sum of its means in the datasets.
    """
    if not differences:
        return {}
    by_dataset = zip(*differences.values(), strict=True)
    stacked = np.concatenate([shares_of_mean(frames) for frames in by_dataset])
    p = randomisation_test(stacked, flips=flips, seed=RESAMPLING_SEED)
    pairs = zip(differences, p, holm(p), strict=True)
    return {name: Tested(float(alone), float(corrected)) for name, alone, corrected in pairs}


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
