"""Turn the cells of one dataset into means, intervals, paired comparisons and a verdict in plain
words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from glta.ablations import ABLATIONS, ablation_title
from glta.evaluation.metrics import ACCURACY, BEYOND_ACCURACY, NEW_GROUPS
from glta.evaluation.significance import (
    Comparison,
    bootstrap,
    compare_paired,
    enough_resamples,
    holm,
    interval,
    over_seeds,
)
from glta.methods.registry import METHODS
from glta.params.model import Params
from glta.report.evaluated import Evaluated

RESAMPLING_SEED = 0  # the resampling is part of the definition of an interval, not a knob


class Tested(NamedTuple):
    """A comparison, reference minus other, with its p-value corrected over all comparisons of the
    dataset.
    """

    values: Comparison
    corrected_p: float


class Verdict(NamedTuple):
    """kind: win, loss, tie, untested or nothing.

    headline: who wins. text: by how much, and how sure.
    """

    kind: str
    headline: str
    text: str


@dataclass(frozen=True)
class Analysis:
    """Everything that the report says about one dataset.

    params: with the dataset's overrides in place.
    """

    dataset: str
    params: Params
    cells: dict[str, dict[int, Evaluated]]  # by method and seed

    @property
    def methods(self) -> list[str]:
        return list(self.cells)

    @property
    def missing(self) -> list[tuple[str, int]]:
        """Methods and seeds that the parameters name and nobody evaluated."""
        return [
            (m, s)
            for m in self.params.methods
            for s in self.params.seeds
            if s not in self.cells.get(m, {})
        ]

    @property
    def cutoffs(self) -> list[int]:
        return sorted(self.params.evaluate.cutoffs)

    @property
    def columns(self) -> list[str]:
        """The accuracy metrics, all of them tested: precision@5, ..."""
        return [f"{name}@{k}" for k in self.cutoffs for name in ACCURACY]

    @property
    def alpha(self) -> float:
        return 1 - self.params.report.confidence

    @cached_property
    def splits(self) -> dict[int, Evaluated]:
        """By seed, in the order of the parameters: a cell to read the split's description from,
        equal for all methods.
        """
        cells = {
            seed: cell for seeds in reversed(self.cells.values()) for seed, cell in seeds.items()
        }
        return {seed: cells[seed] for seed in self.params.seeds if seed in cells}

    @property
    def any_cell(self) -> Evaluated | None:
        """A cell of the first seed, to read the dataset's own description from."""
        return next(iter(self.splits.values()), None)

    def per_seed(self, method: str, metric: str) -> list[float]:
        """Values of one metric, one a seed, where it exists (a group may be empty)."""
        return [
            cell.metrics[metric] for cell in self.cells[method].values() if metric in cell.metrics
        ]

    def mean(self, method: str, metric: str) -> float | None:
        """Mean over seeds."""
        values = self.per_seed(method, metric)
        return float(np.mean(values)) if values else None

    def spread(self, method: str, metric: str) -> float | None:
        """Standard deviation over seeds (n - 1); None for fewer than two."""
        values = self.per_seed(method, metric)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def best(self, metric: str) -> str | None:
        """The method with the highest mean; the first one named among equals."""
        known = {m: v for m in self.methods if (v := self.mean(m, metric)) is not None}
        return max(known, key=known.get) if known else None

    def users(self, method: str, cold: bool | None = None) -> np.ndarray:
        """Accuracy of each user, averaged over seeds: (users, columns).

        cold: only cold, only warm, or all users.
        """
        frames = [cell.users for cell in self.cells[method].values()]
        if cold is not None:
            frames = [
                f.filter((f["num_train"] <= self.params.evaluate.cold_user_items) == cold)
                for f in frames
            ]
        return over_seeds(frames, self.columns).drop("user").to_numpy()

    def _intervals(self, values: np.ndarray) -> dict[str, tuple[float, float]]:
        if len(values) < 2:
            return {}
        samples = bootstrap(values, resamples=self.params.report.resamples, seed=RESAMPLING_SEED)
        low, high = interval(samples, self.params.report.confidence)
        return {
            name: (float(a), float(b)) for name, a, b in zip(self.columns, low, high, strict=True)
        }

    @cached_property
    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """By method and metric: the bootstrap interval of the mean over users."""
        return {method: self._intervals(self.users(method)) for method in self.methods}

    @cached_property
    def group_intervals(self) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
        """By group of users, method and metric."""
        groups = {"cold_users": True, "warm_users": False}
        return {
            g: {m: self._intervals(self.users(m, cold)) for m in self.methods}
            for g, cold in groups.items()
        }

    @cached_property
    def tests(self) -> dict[str, dict[str, Tested]]:
        """By other method and metric: reference minus other, over users that both served, on the
        seeds of both.
        """
        reference = self.params.report.reference
        return self._compared(reference, [m for m in self.methods if m != reference], self.columns)

    @cached_property
    def ablation_tests(self) -> dict[str, Tested]:
        """By ablation: GLTA minus the ablation in the report's metric; corrected over the ablations
        alone.
        """
        metric = self.params.report.metric
        found = self._compared("glta", [m for m in self.methods if m in ABLATIONS], [metric])
        return {method: tests[metric] for method, tests in found.items()}

    @cached_property
    def new_columns(self) -> list[str]:
        """What is told of items without training users, GROUP/METRIC@K at the report's cut-off;
        empty where there are none.
        """
        k = self.params.report.metric.partition("@")[2]
        wanted = [f"{group}/{name}@{k}" for group in NEW_GROUPS for name in ("ndcg", "recall")]
        cells = [cell for seeds in self.cells.values() for cell in seeds.values()]
        return wanted if any(set(wanted) <= set(cell.users.columns) for cell in cells) else []

    @cached_property
    def new_tests(self) -> dict[str, dict[str, Tested]]:
        """As `tests`, over users who have a new item in test; corrected among themselves."""
        reference = self.params.report.reference
        others = [m for m in self.methods if m != reference]
        return self._compared(reference, others, self.new_columns) if self.new_columns else {}

    def _compared(
        self, reference: str, others: list[str], columns: list[str]
    ) -> dict[str, dict[str, Tested]]:
        """Compare one method with others, by method and metric; p is corrected over all of it."""
        report = self.params.report
        if reference not in self.cells:
            return {}
        flips = enough_resamples(
            max(len(others), 1) * len(columns),
            confidence=report.confidence,
            at_least=report.resamples,
        )
        found = {}
        for method in others:
            ours, theirs = self.cells[reference], self.cells[method]
            shared = [
                s
                for s in ours
                if s in theirs
                and {*columns} <= {*ours[s].users.columns} & {*theirs[s].users.columns}
            ]
            if not shared:
                continue
            one, other = (
                over_seeds([cells[s].users.drop_nulls(columns) for s in shared], columns)
                for cells in (ours, theirs)
            )
            both = one.join(other, on="user", how="inner", suffix="/other", maintain_order="left")
            if both.height < 2:
                continue
            values = both.drop("user").to_numpy()
            left, right = values[:, : len(columns)], values[:, len(columns) :]
            found[method] = compare_paired(
                left,
                right,
                confidence=report.confidence,
                resamples=report.resamples,
                seed=RESAMPLING_SEED,
                flips=flips,
            )
        corrected = holm(np.array([[c.p for c in found[m]] for m in found]))
        return {
            method: {
                column: Tested(comparison, float(p))
                for column, comparison, p in zip(columns, row, ps, strict=True)
            }
            for (method, row), ps in zip(found.items(), corrected, strict=True)
        }

    def significant(self, method: str, metric: str) -> int:
        """Say whether a method differs from the reference: 1 better, -1 worse, 0 not shown."""
        test = self.tests.get(method, {}).get(metric)
        if test is None or test.corrected_p >= self.alpha:
            return 0
        return -1 if test.values.difference > 0 else 1

    @cached_property
    def verdict(self) -> Verdict:
        """Say in plain words who wins by the report's metric, against the best of the others."""
        reference, metric = self.params.report.reference, self.params.report.metric
        label, best = metric_title(metric), self.best(metric)
        if best is None:
            return Verdict(
                "nothing", "Nothing evaluated yet", "No results of this dataset were found."
            )
        if len(self.methods) == 1:
            return Verdict(
                "nothing",
                f"Only {title(best)} was run",
                f"{label} {self.mean(best, metric):.4f}, and nothing to compare.",
            )
        if reference not in self.cells or not self.tests:
            text = (
                f"{label} {self.mean(best, metric):.4f}. {title(reference)}, the reference, "
                "has no results to test against."
            )
            return Verdict("untested", f"{title(best)} is highest", text)
        rival = max(self.tests, key=lambda m: self.mean(m, metric))
        c, p = self.tests[rival][metric]
        ours, theirs = self.mean(reference, metric), self.mean(rival, metric)
        share = f" ({abs(c.difference) / theirs:.1%})" if theirs else ""
        interval_text = (
            f"{self.params.report.confidence:.0%} interval {signed(c.low)} to {signed(c.high)}"
        )
        sure = f"{interval_text}, {p_text(p)} after Holm's correction"
        if p >= self.alpha:
            ahead, behind = (reference, rival) if c.difference > 0 else (rival, reference)
            text = (
                f"{title(ahead)} is ahead of {title(behind)} by {abs(c.difference):.4f}{share} in "
                f"{label}, "
                f"but that may be chance when all comparisons are counted ({title(reference)} "
                f"minus {title(rival)}: {sure})."
            )
            return Verdict(
                "tie", f"No clear winner between {title(reference)} and {title(rival)}", text
            )
        if c.difference > 0:
            text = (
                f"Its {label} is {ours:.4f}, which is {c.difference:.4f}{share} above the best of "
                "the others, "
                f"{title(rival)} at {theirs:.4f} ({sure})."
            )
            return Verdict("win", f"{title(reference)} wins", text)
        kind = "a baseline, " if rival in self.params.baselines else ""
        text = (
            f"{title(reference)} reaches {label} {ours:.4f} and stays {-c.difference:.4f}{share} "
            f"below {kind}{title(rival)} "
            f"at {theirs:.4f} ({title(reference)} minus {title(rival)}: {sure})."
        )
        return Verdict("loss", f"{title(rival)} wins, not {title(reference)}", text)


def title(method: str) -> str:
    """How a method is written."""
    if method in ABLATIONS:
        return ablation_title(method)
    return METHODS[method].title if method in METHODS else method


def metric_title(metric: str) -> str:
    """How a metric is written: NDCG@20."""
    name, _, k = metric.partition("@")
    definition = ACCURACY.get(name) or BEYOND_ACCURACY.get(name)
    return f"{definition.title if definition else name}@{k}" if k else name


def signed(value: float, digits: int = 4) -> str:
    """Write a number with its sign, a true minus."""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        return text[1:]
    return text.replace("-", "−")  # noqa: RUF001 - the typographic minus


def p_text(p: float) -> str:
    """Write a p-value as nobody could misread it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.9995 else "p = 1"
