"""A study: trials of one method's settings, kept in a file, so that it can go on after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState

from glta.training.stopping import Diverged
from glta.tuning.space import Values

DIGITS = 3
"""Significant digits of a proposed value.

It is rounded before it is measured, so that what is written is what was measured.
"""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Trial(NamedTuple):
    """A finished trial.

    number: its place in the study, from 0. value: validation NDCG@20, or None when the training
    diverged. error: how it did, or empty.
    """

    number: int
    values: Values
    value: float | None
    seconds: float
    started: datetime
    error: str


def in_words(values: Values) -> str:
    """Write values on one line."""
    return ", ".join(f"{key} = {value:g}" for key, value in values.items())


class Budget(NamedTuple):
    """What all runs of a study may spend together; of both limits the one that is reached first
    ends it.
    """

    trials: int | None = None
    minutes: float | None = None

    def left(self, done: list[Trial]) -> bool:
        """Tell whether another trial may start."""
        spent = sum(trial.seconds for trial in done) / 60
        return (self.trials is None or len(done) < self.trials) and (
            self.minutes is None or spent < self.minutes
        )


def rounded(value: float, distribution: BaseDistribution) -> float:
    """Round to DIGITS significant digits; whole numbers stay whole."""
    return (
        type(value)(f"{value:.{DIGITS}g}") if isinstance(distribution, FloatDistribution) else value
    )


class Proposals(optuna.samplers.GPSampler):
    """Propose values by a Gaussian process after ten random ones, rounded; `fixed` ones as they
    are.

    What is `measured` already is not proposed again: a random draw takes its place.

    A trial costs seconds to hours, and there are a few dozen of them, so a fraction of a second for
    a good proposal is little. The draw depends on the seed and on the finished trials alone, so
    that a resumed study goes on like one that was never interrupted, and a trial that was killed is
    proposed again.
    """

    def __init__(self, seed: int, measured: list[Values], fixed: Values):
        state = int(np.random.SeedSequence([seed, len(measured)]).generate_state(1)[0])
        super().__init__(seed=state, warn_independent_sampling=False)
        self._measured, self._fixed = measured, fixed

    def infer_relative_search_space(self, study, trial):
        return {} if self._fixed else super().infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        found = super().sample_relative(study, trial, search_space)
        found = {key: rounded(value, search_space[key]) for key, value in found.items()}
        return {} if found in self._measured else found

    def sample_independent(self, study, trial, param_name, param_distribution):
        if param_name in self._fixed:
            return self._fixed[param_name]
        return rounded(
            super().sample_independent(study, trial, param_name, param_distribution),
            param_distribution,
        )


class Study:
    """Keep the trials of one `study_key` in an SQLite file, which loses no finished trial at a
    kill.

    One process at a time: what it finds unfinished was killed, and is marked as failed.
    """

    def __init__(self, database: Path, key: str, ranges: Mapping[str, BaseDistribution], seed: int):
        self._ranges, self._seed = dict(ranges), seed
        self._study = optuna.create_study(
            storage=_storage(database), study_name=key, direction="maximize", load_if_exists=True
        )
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)

    def finished(self) -> list[Trial]:
        """List what was measured, in its order; a training that diverged counts too."""
        return _finished(self._study)

    def run_trial(
        self,
        starts: list[Values],
        evaluate: Callable[[Values], float],
        on_start: Callable[[Values], None],
    ) -> None:
        """Measure the first of `starts` that no trial has measured, else what the sampler
        proposes.
        """
        done = self.finished()
        worst = min((trial.value for trial in done if trial.value is not None), default=0.0)
        measured = [trial.values for trial in done]
        fixed = next((values for values in starts if values not in measured), {})
        self._study.sampler = Proposals(self._seed, measured, fixed)
        # values to start from may lie outside of the ranges, of which the sampler then learns
        # nothing
        trial = self._study.ask(
            {k: d for k, d in self._ranges.items() if not fixed or d.low <= fixed[k] <= d.high}
        )
        values = {key: (fixed | trial.params)[key] for key in self._ranges}
        trial.set_user_attr("values", values)
        on_start(values)
        began, value, error = time.monotonic(), None, ""
        try:
            value = evaluate(values)
        except Diverged as problem:
            error = str(problem)
        trial.set_user_attr("seconds", time.monotonic() - began)
        trial.set_user_attr("error", error)
        # the sampler shall stay away from where trainings diverge; a value of 0 would hide all
        # other differences
        self._study.tell(trial, worst if value is None else value)


def _finished(study: optuna.Study) -> list[Trial]:
    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [
        Trial(
            n,
            a["values"],
            None if a["error"] else t.value,
            a["seconds"],
            t.datetime_start,
            a["error"],
        )
        for n, (t, a) in enumerate((t, t.user_attrs) for t in found)
    ]


def latest_trials(database: Path) -> list[Trial]:
    """List what was measured in the study of a file that was begun last; empty without one."""
    storage = _storage(database)
    begun = [study for study in optuna.get_all_study_summaries(storage) if study.datetime_start]
    if not begun:
        return []
    name = max(begun, key=lambda study: study.datetime_start).study_name
    return _finished(optuna.load_study(storage=storage, study_name=name))


def tune(
    study: Study,
    present: Values,
    evaluate: Callable[[Values], float],
    budget: Budget,
    on_start: Callable[[Values], None] = lambda values: None,
    on_trial: Callable[[list[Trial]], None] = lambda done: None,
    others: Sequence[Values] = (),
) -> list[Trial]:
    """Run trials until the budget is spent; the present values are measured in any case. Returns
    all finished trials.

    others: measured before anything is proposed, within the budget.
    """
    done = study.finished()
    while budget.left(done) or all(trial.values != present for trial in done):
        study.run_trial([present, *others], evaluate, on_start)
        done = study.finished()
        on_trial(done)
    return done


def best_of(done: Iterable[Trial]) -> Trial | None:
    """Return the best trial, of equals the earliest; None when all diverged."""
    measured = [trial for trial in done if trial.value is not None]
    return max(measured, key=lambda trial: (trial.value, -trial.number), default=None)


def _storage(database: Path) -> optuna.storages.RDBStorage:
    """Open a study's file.

    A new one is made beside its place: a kill must not leave half of its tables.
    """

    def opened(path: Path) -> optuna.storages.RDBStorage:
        return optuna.storages.RDBStorage(f"sqlite:///{path}")

    if not database.exists():
        database.parent.mkdir(parents=True, exist_ok=True)
        partial = database.with_name(f".{database.name}.partial")
        partial.unlink(missing_ok=True)
        opened(partial).engine.dispose()
        partial.replace(database)
    return opened(database)
