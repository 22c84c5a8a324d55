"""Tuning: what a method may vary, and a study that looks for the best of it on validation pairs
alone.
"""

# U users, I items, B users of a block
from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import TrialState

from glta.config import Section
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.methods.base import Inputs
from glta.methods.registry import METHODS, method_class
from glta.params.model import Params
from glta.storage.files import sha256_of
from glta.training.stopping import Diverged

DIGITS = 3
"""Significant digits of a proposed value, rounded before it is measured: what is written is what
was measured.
"""

PREPARED = ("train", "valid", "users", "items")
"""The files of the stage `prepare` that tuning may depend on; test is not among them."""

Values = dict[str, Any]
"""Parameters by dotted keys, e.g. {"settings.ease.l2": 200.0}."""

Score = Callable[[np.ndarray], np.ndarray]
"""Maps users (B,) to scores (B, I)."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Recipe(NamedTuple):
    """How a method is tuned.

    sections: whose ranges are searched. fixed: further sections that it reads. needs: what is read
    of data/D/S besides `prepare`. code: files in which its code starts. fit: maps (cell, prepared,
    params, seed) to scores.
    """

    sections: tuple[str, ...]
    fixed: tuple[str, ...]
    needs: tuple[str, ...]
    code: tuple[str, ...]
    fit: Callable[[Path, Prepared, Params, int], Score]


ALL_OF_FIT = ("profile", "pretrain/all")
NEEDS = {
    "item-knn": (),
    "ease": (),
    "hccf": (),
    "lightgcn-plus": ("profile",),
    "hccf-plus": ("profile",),
    "rlmrec-con": ("profile",),
    "rlmrec-gen": ("profile",),
}
"""What methods of the stage `fit` read; one that is not named here gets all that the stage has."""


def recipe(method: str) -> Recipe:
    """Find how a method is tuned. Raises ValueError for an unknown one."""
    if method not in METHODS:
        raise ValueError(f"{method}: unknown method; valid are {', '.join(METHODS)}")
    if method == "lightgcn":
        return Recipe(("pretrain",), (), (), ("glta/nn/graph/node_embeddings.py",), _fit_lightgcn)
    if method == "glta":
        code = ("glta/methods/glta/steps.py",)
        needs = ("profile", "pretrain/all", "pretrain/graph")
        return Recipe(("align_items", "align_users"), ("align", "language"), needs, code, _fit_glta)
    code = (METHODS[method].file,)
    return Recipe(
        (f"settings.{method}",),
        ("fit",),
        NEEDS.get(method, ALL_OF_FIT),
        code,
        partial(_fit, method),
    )


def _fit(method: str, cell: Path, prepared: Prepared, params: Params, seed: int) -> Score:
    return (
        method_class(method)
        .fit(Inputs(prepared, cell / "profile", cell / "pretrain" / "all"), params, seed)
        .score
    )


def _fit_lightgcn(cell: Path, prepared: Prepared, params: Params, seed: int) -> Score:
    import torch

    from glta.evaluation.ranking import dot_products
    from glta.evaluation.validation import embeddings_ndcg
    from glta.nn.graph.node_embeddings import train
    from glta.progress import epochs

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with epochs(params.pretrain.epochs, "lightgcn") as on_epoch:
        model = train(
            prepared.train,
            params.pretrain,
            seed,
            embeddings_ndcg(prepared),
            on_epoch=on_epoch,
            device=device,
        )
    user_UD, item_ID = model.propagated(prepared.train)
    return lambda users: dot_products(user_UD[users], item_ID)


def _fit_glta(cell: Path, prepared: Prepared, params: Params, seed: int) -> Score:
    from glta.methods.glta.settings import ServeSettings
    from glta.methods.glta.steps import AlignInputs, align_items, align_users, serve

    embeddings = cell / "pretrain" / params.align.edges
    inputs = AlignInputs(prepared, cell / "profile", embeddings, params.language, params.align)
    items = align_items(inputs, params.align_items, seed)
    aligned = align_users(inputs, items, params.align_users, params.profile, seed)
    return serve(aligned, prepared, inputs.profile, ServeSettings()).score


def space(method: str) -> dict[str, BaseDistribution]:
    """Return the ranges that tuning searches, as the sections of glta/params/model.py declare them;
    empty if none does.
    """
    found: dict[str, BaseDistribution] = {}
    for name in recipe(method).sections:
        section = type(_section(Params(), name))
        for key, search in section.search_space().items():
            if section.model_fields[key].annotation is int:
                found[f"{name}.{key}"] = IntDistribution(
                    int(search.low), int(search.high), log=search.log
                )
            else:
                found[f"{name}.{key}"] = FloatDistribution(search.low, search.high, log=search.log)
    return found


def present_values(method: str, params: Params) -> Values:
    """Return what the parameters say now of the values that tuning may vary.

    params: with the dataset's overrides.
    """
    return {
        key: getattr(_section(params, key.rpartition(".")[0]), key.rpartition(".")[2])
        for key in space(method)
    }


def _section(params: Params, name: str) -> Section:
    for part in name.split("."):
        params = getattr(params, part.replace("-", "_"))
    return params


def space_table() -> str:
    """Write all ranges as a Markdown table, for docs/tuning.md."""
    lines = ["| method | key | default | from | to | steps |", "|---|---|---|---|---|---|"]
    for method in METHODS:
        defaults = present_values(method, Params())
        for key, d in space(method).items():
            steps = ("whole numbers, " if isinstance(d, IntDistribution) else "") + (
                "by factors" if d.log else "even"
            )
            lines.append(
                f"| {method} | `{key}` | {defaults[key]:g} | {d.low:g} | {d.high:g} | {steps} |"
            )
    return "\n".join(lines)


def without_test(prepared: Prepared) -> Prepared:
    """Return the data with no test pair in it."""
    return replace(
        prepared, test=Interactions.of([], [], prepared.train.num_users, prepared.train.num_items)
    )


def objective(method: str, cell: Path, params: Params, seed: int) -> Callable[[Values], float]:
    """Make the function that is maximised: maps values to NDCG@20 on validation pairs, in [0, 1];
    it cannot see test pairs.

    cell: the folder data/DATASET/SEED. params: with the dataset's overrides. It raises Diverged
    when training fails.
    """
    from glta.evaluation.validation import validation_ndcg

    prepared, fit = without_test(Prepared.load(cell / "prepare")), recipe(method).fit
    return lambda values: validation_ndcg(
        prepared, fit(cell, prepared, params.with_values(values), seed)
    )


def study_key(method: str, cell: Path, params: Params, seed: int, code: Iterable[str]) -> str:
    """Hash all that a trial's result follows from besides its values: data, other parameters, seed,
    ranges, code.

    code: files; so that a change of any starts a new study.
    """
    found, ranges = recipe(method), space(method)
    files = [cell / "prepare" / f"{name}.parquet" for name in PREPARED]
    files += [
        path
        for folder in found.needs
        for path in sorted((cell / folder).rglob("*"))
        if path.is_file()
    ]
    fixed = {
        f"{name}.{key}": value
        for name in (*found.sections, *found.fixed)
        for key, value in _section(params, name).model_dump().items()
    }
    about = {
        "method": method,
        "seed": seed,
        "data": {path.relative_to(cell).as_posix(): sha256_of(path) for path in files},
        "code": {path: sha256_of(path) for path in sorted(code)},
        "fixed": {key: value for key, value in fixed.items() if key not in ranges},
        "ranges": {key: distribution_to_json(d) for key, d in ranges.items()},
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


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


def told(values: Values) -> str:
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
