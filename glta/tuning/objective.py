"""The objective of tuning: validation NDCG@20 of a method that is trained with given values."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import polars as pl

from glta.config import Search
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.methods.base import Recommender
from glta.methods.chain import chain_of, place_of, run_unit
from glta.methods.spec import file_of
from glta.params.model import Params
from glta.storage.cell import Cell
from glta.storage.files import sha256_of
from glta.training.stopping import TooSlow
from glta.tuning.space import Range, Values, space

PREPARED = ("train", "valid", "users", "items")
"""The files of the stage `prepare` that tuning may depend on. test is not among them."""


def sources(method: str) -> list[str]:
    """Return the stages and steps whose folders a method's own steps read, without `prepare`."""
    return [name for name in chain_of(method).reads if name != "prepare"]


def programs_of(method: str) -> list[str]:
    """Return the files of the classes of a method's own steps."""
    return [file_of(step.run) for step in chain_of(method).steps]


def without_test(prepared: Prepared) -> Prepared:
    """Return the data without test pairs."""
    train = prepared.train
    return replace(prepared, test=Interactions.of([], [], train.num_users, train.num_items))


def searched(method: str, cell: Cell) -> dict[str, Range]:
    """Return the ranges of `space` that count on the data of a cell.

    Without times, a value that needs the order of interactions stays as it is.
    """
    train = pl.scan_parquet(cell.prepare / "train.parquet")
    if not train.select(pl.col("timestamp").null_count()).collect().item():
        return space(method)
    return {
        key: found
        for key, found in space(method).items()
        if not (isinstance(found.search, Search) and found.search.ordered)
    }


class Objective(Protocol):
    """The function to maximise. It maps values to validation NDCG@20."""

    def __call__(self, values: Values, *, minutes: float | None = None) -> float:
        """Train the method without the test pairs, and measure the lists that it would serve.

        minutes: the training may take so long; None: any time. It is checked after each epoch.
        Raises Diverged when the training diverges, and TooSlow when it takes longer.
        """


def objective(method: str, cell: Cell, params: Params) -> Objective:
    """Return the function to maximise. params: with the dataset's overrides applied."""
    from glta.evaluation.validation import lists_ndcg

    prepared = without_test(Prepared.load(cell.prepare))
    unit = chain_of(method)

    def measure(values: Values, *, minutes: float | None = None) -> float:
        changed = params.with_values(values)
        started = time.monotonic()

        def on_epoch(record: dict[str, Any]) -> None:
            if minutes is not None and time.monotonic() - started > 60 * minutes:
                raise TooSlow(f"it took longer than {minutes:g} minutes")

        model = run_unit(unit, cell, changed.section, on_epoch=on_epoch, prepared=prepared)
        assert isinstance(model, Recommender)
        return lists_ndcg(prepared, lambda who, k: model.recommend(who, k, prepared.train)[0])

    return measure


def study_key(
    method: str, cell: Cell, params: Params, *, ranges: Mapping[str, Range], code: Iterable[str]
) -> str:
    """Return a hash of all that a trial's result depends on, except its values.

    That is the data, the seed, the other parameters, the ranges and the code. ranges: those that
    are `searched`. code: its files. A change of one of these starts a new study.
    """
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
        "dataset": cell.dataset,
        "seed": cell.seed,
        "data": {path.relative_to(root).as_posix(): sha256_of(path) for path in files},
        "code": {path: sha256_of(path) for path in sorted(code)},
        "fixed": {key: value for key, value in fixed.items() if key not in ranges},
        "ranges": {key: repr(found) for key, found in ranges.items()},
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
