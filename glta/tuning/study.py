"""A study: trials of one method's settings, kept in a file, so that it resumes after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from glta.training.stopping import Diverged, TooSlow
from glta.tuning.space import Range, Values, in_short

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Trial(NamedTuple):
    """A finished trial.

    number: its place among the finished trials, from 0.
    values: the parameters that were tried.
    value: validation NDCG@20, or None when the training diverged or took too long.
    seconds: how long it took. started: when it started.
    error: the message of a training without a value, or empty.
    """

    number: int
    values: Values
    value: float | None
    seconds: float
    started: datetime
    error: str


def in_words(values: Values) -> str:
    """Return values as one line of text."""
    return ", ".join(f"{key} = {in_short(value)}" for key, value in values.items())


class Budget(NamedTuple):
    """Limits of all runs of a study together. The limit that is reached first ends the study.

    trials: number of trials. minutes: of all trials together. trial_minutes: of one trial, but for
    that of the present values. None: no such limit.
    """

    trials: int | None = None
    minutes: float | None = None
    trial_minutes: float | None = None

    def left(self, done: list[Trial]) -> bool:
        """Return whether another trial may start. done: the finished trials."""
        spent = sum(trial.seconds for trial in done) / 60
        return (self.trials is None or len(done) < self.trials) and (
            self.minutes is None or spent < self.minutes
        )


class Proposals(optuna.samplers.GPSampler):
    """Propose the values of the next trial, rounded. The first ten trials are random.

    After these a Gaussian process proposes the values. It takes a fraction of a second, which is
    little: a trial takes seconds to hours, and there are a few dozen trials.
    Proposals depend only on the seed and the finished trials. So a resumed study equals one that
    was never interrupted, and a trial that was killed is proposed again.
    ranges: of the keys. All values here are coded (`Range.code`).
    measured: values that are not proposed again; random ones are proposed instead.
    fixed: values to propose as they are; {} for none.
    """

    def __init__(
        self, seed: int, ranges: Mapping[str, Range], measured: Sequence[Values], fixed: Values
    ):
        state = int(np.random.SeedSequence([seed, len(measured)]).generate_state(1)[0])
        super().__init__(seed=state, warn_independent_sampling=False)
        self._ranges = ranges
        self._measured = measured
        self._fixed = fixed

    def infer_relative_search_space(self, study, trial):
        return {} if self._fixed else super().infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        found = super().sample_relative(study, trial, search_space)
        found = {key: self._ranges[key].rounded(value) for key, value in found.items()}
        return {} if found in self._measured else found

    def sample_independent(self, study, trial, param_name, param_distribution):
        if param_name in self._fixed:
            return self._fixed[param_name]
        value = super().sample_independent(study, trial, param_name, param_distribution)
        return self._ranges[param_name].rounded(value)


class Study:
    """Keep the trials of one `study_key` in an SQLite file. A kill loses no finished trial.

    Only one process may use it at a time. An unfinished trial in the file was therefore killed, and
    is marked as failed.
    """

    def __init__(self, database: Path, key: str, ranges: Mapping[str, Range], seed: int):
        self._ranges = dict(ranges)
        self._seed = seed
        self._study = optuna.create_study(
            storage=_storage(database), study_name=key, direction="maximize", load_if_exists=True
        )
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)

    def finished(self) -> list[Trial]:
        """Return the finished trials in their order, those without a value included."""
        return _finished(self._study)

    def run_trial(
        self,
        starts: list[Values],
        evaluate: Callable[[Values], float],
        on_start: Callable[[Values], None],
    ) -> None:
        """Run one trial: of the first of `starts` without a trial, else of proposed values.

        evaluate: the objective. on_start: called with the values before the trial.
        """
        done = self.finished()
        worst = min((trial.value for trial in done if trial.value is not None), default=0.0)
        measured = [trial.values for trial in done]
        fixed = next((values for values in starts if values not in measured), {})
        self._study.sampler = Proposals(
            self._seed, self._ranges, [self._coded(v) for v in measured], self._coded(fixed)
        )
        inside: dict[str, BaseDistribution] = {
            key: range_.distribution
            for key, range_ in self._ranges.items()
            if not fixed or range_.holds(fixed[key])
        }
        trial = self._study.ask(inside)
        proposed = {key: self._ranges[key].decode(value) for key, value in trial.params.items()}
        values = {key: (fixed | proposed)[key] for key in self._ranges}
        trial.set_user_attr("values", values)
        on_start(values)
        began = time.monotonic()
        value = None
        error = ""
        try:
            value = evaluate(values)
        except (Diverged, TooSlow) as problem:
            error = str(problem)
        trial.set_user_attr("seconds", time.monotonic() - began)
        trial.set_user_attr("error", error)
        if len(inside) < len(self._ranges):
            # a value to start from is outside of its range. The sampler searches the keys that all
            # complete trials have, so this trial must be none: the key would never be searched
            trial.set_user_attr("value", value)
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            # the sampler must avoid values for which trainings diverge or take too long, so they
            # get the worst value so far; 0 would be so far off that it sees no other differences
            self._study.tell(trial, worst if value is None else value)

    def _coded(self, values: Values) -> Values:
        """Return values as optuna sees them, without those outside of their ranges."""
        return {
            key: self._ranges[key].code(value)
            for key, value in values.items()
            if self._ranges[key].holds(value)
        }


def _finished(study: optuna.Study) -> list[Trial]:
    """Return the finished trials of a study in their order.

    A pruned trial is a finished one whose values the ranges do not hold (`Study.run_trial`).
    """
    found: list[Trial] = []
    finished = (TrialState.COMPLETE, TrialState.PRUNED)
    for trial in study.get_trials(deepcopy=False, states=finished):
        assert trial.datetime_start is not None  # set when the trial was asked for
        about = trial.user_attrs
        value = trial.value if trial.state == TrialState.COMPLETE else about["value"]
        found.append(
            Trial(
                number=len(found),
                values=about["values"],
                value=None if about["error"] else value,
                seconds=about["seconds"],
                started=trial.datetime_start,
                error=about["error"],
            )
        )
    return found


def latest_trials(database: Path) -> list[Trial]:
    """Return the finished trials of the study in a file that started last, [] without a study."""
    storage = _storage(database)
    summaries = optuna.get_all_study_summaries(storage)
    begun = {study.datetime_start: study.study_name for study in summaries if study.datetime_start}
    if not begun:
        return []
    name = begun[max(begun)]
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
    """Run trials until the budget is spent. Returns all finished trials.

    present: values that are measured first, whatever the budget.
    evaluate: the objective. on_start: called with the values before each trial. on_trial: called
    with all finished trials after each trial.
    others: values to measure next, within the budget, before any are proposed.
    """
    done = study.finished()
    while budget.left(done) or all(trial.values != present for trial in done):
        study.run_trial([present, *others], evaluate, on_start)
        done = study.finished()
        on_trial(done)
    return done


def best_of(done: Iterable[Trial]) -> Trial | None:
    """Return the best trial, of equals the earliest. None when none has a value."""
    measured = [trial for trial in done if trial.value is not None]
    return max(measured, key=lambda trial: (trial.value, -trial.number), default=None)


def _storage(database: Path) -> optuna.storages.RDBStorage:
    """Open the file of a study, or make it.

    It is made under another name and then renamed, so that a kill never leaves half of its tables.
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
