"""What tuning maximises: NDCG@20 on validation pairs, of a method trained with given values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace

from optuna.distributions import distribution_to_json

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.methods.base import Scorer
from glta.methods.chain import chain_of, place_of, run_unit
from glta.methods.spec import file_of
from glta.params.model import Params
from glta.storage.cell import Cell
from glta.storage.files import sha256_of
from glta.tuning.space import Values, space

PREPARED = ("train", "valid", "users", "items")
"""The files of the stage `prepare` that tuning may depend on; test is not among them."""


def sources(method: str) -> list[str]:
    """Name the stages and steps, besides `prepare`, that a method is trained from."""
    return [name for name in chain_of(method).reads if name != "prepare"]


def programs_of(method: str) -> list[str]:
    """Return the files in which the code of a method's own steps starts."""
    return [file_of(step.run) for step in chain_of(method).steps]


def without_test(prepared: Prepared) -> Prepared:
    """Return the data with no test pair in it."""
    train = prepared.train
    return replace(prepared, test=Interactions.of([], [], train.num_users, train.num_items))


def objective(method: str, cell: Cell, params: Params) -> Callable[[Values], float]:
    """Make the function that is maximised: it maps values to NDCG@20 on validation pairs.

    It cannot see test pairs. params: with the dataset's overrides. It raises Diverged when training
    fails.
    """
    from glta.evaluation.validation import validation_ndcg

    prepared = without_test(Prepared.load(cell.prepare))
    unit = chain_of(method)

    def measure(values: Values) -> float:
        changed = params.with_values(values)
        model = run_unit(unit, cell, changed.section, prepared=prepared)
        assert isinstance(model, Scorer), f"{method} makes lists without scores"
        return validation_ndcg(prepared, model.score)

    return measure


def study_key(method: str, cell: Cell, params: Params, code: Iterable[str]) -> str:
    """Hash all that a trial's result follows from besides its values.

    That is the data, the seed, the other parameters, the ranges and the code. code: files; a change
    of one of them starts a new study.
    """
    ranges = space(method)
    files = [cell.prepare / f"{name}.parquet" for name in PREPARED]
    for name in sources(method):
        files += sorted(path for path in place_of(cell, name).rglob("*") if path.is_file())
    fixed = {}
    for name in chain_of(method).sections:
        for key, value in params.section(name).model_dump().items():
            fixed[f"{name}.{key}"] = value
    root = cell.prepare.parent
    about = {
        "method": method,
        "seed": cell.seed,
        "data": {path.relative_to(root).as_posix(): sha256_of(path) for path in files},
        "code": {path: sha256_of(path) for path in sorted(code)},
        "fixed": {key: value for key, value in fixed.items() if key not in ranges},
        "ranges": {key: distribution_to_json(d) for key, d in ranges.items()},
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
