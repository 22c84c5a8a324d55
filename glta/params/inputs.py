"""Tell which parameter values each stage depends on.

They are the values that count for a dataset, after its preset and its `overrides`. Values that
change no result are left out: those marked `Cost` or `When` (glta/config.py), and the settings of
other methods.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from pydantic import ValidationError

from glta.methods.registry import Unit, needed, specs, title, units
from glta.params.model import Params

COLUMNS = (
    "user",
    "item",
    "rating",
    "timestamp",
    "part",
    "title",
    "description",
    "categories",
    "category_separator",
    "features",
    "separator",
    "items_separator",
    "header",
    "items_header",
    "quotes",
    "null_words",
)
"""The keys of an entry of `tables` that say how its files are read, and not which files they are.

The stage `prepare` reads the files. The stage `download` only copies them.
"""


SPECS = "specs"
"""The key under which the values of the report have what it shows of specs."""


def inputs(params: Params) -> dict[str, dict[str, Any]]:
    """Return the values of all stages, as nested mappings: {"DATASET/STAGE" or "report": values}.

    A step or an ablation is a stage, whether or not a method needs it. The seeds of a dataset share
    their values, and so do its methods in the stages after the training.
    """
    found: dict[str, dict[str, Any]] = {}
    for dataset in params.datasets:
        of_dataset = _of_dataset(params.for_dataset(dataset), dataset)
        found |= {f"{dataset}/{stage}": values for stage, values in of_dataset.items()}
    return found | {"report": shown(params) | {SPECS: of_specs(params.methods)}}


def _of_dataset(params: Params, dataset: str) -> dict[str, dict[str, Any]]:
    """Return the values of each stage. params: with the dataset's values applied."""
    table = params.tables[dataset].model_dump() if dataset in params.tables else {}
    files = {key: value for key, value in table.items() if key not in COLUMNS}
    found = {
        "download": {"tables": {dataset: files}} if table else {},
        "prepare": _sections(params, "prepare") | ({"tables": {dataset: table}} if table else {}),
        "profile": _sections(params, "profile", "language"),
    }
    for name, unit in units().items():
        # an ablation that is not asked for may contradict the present settings
        try:
            found[name] = _of_unit(unit, params)
        except ValidationError:
            if name in needed(params.methods):
                raise
    history = {"recommend": {"test_history": params.recommend.test_history}}
    return found | {
        "recommend": _sections(params, "recommend"),
        "evaluate": _sections(params, "evaluate") | _refit(params),
        "bundle": history,
        "bundle-with-profile": _sections(params, "profile", "language") | history,
    }


def _of_unit(unit: Unit, params: Params) -> dict[str, Any]:
    return _sections(params.with_values(unit.values), *unit.sections) | _refit(params)


def _refit(params: Params) -> dict[str, Any]:
    return {"recommend": {"refit": params.recommend.refit}}


def _sections(params: Params, *names: str) -> dict[str, Any]:
    """Return the values of some sections, nested as in params.yaml. names: dotted."""
    found: dict[str, Any] = {}
    for name in names:
        *path, last = name.split(".")
        inner = found
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = params.section(name).inputs()
    return found


def shown(params: Params) -> dict[str, Any]:
    """Return the values that the report shows: those behind its results.

    Values in which the datasets differ are under `overrides`, wherever params.yaml has them.
    """
    wanted = {*needed(params.methods)}
    steps = [name for unit in units().values() if unit.name in wanted for name in unit.sections]
    texts = ["profile", "language"] if "profile" in wanted else []
    names = dict.fromkeys(["prepare", *texts, *steps, "recommend", "evaluate"])
    by_dataset = {name: _sections(params.for_dataset(name), *names) for name in params.datasets}
    common = _shared(by_dataset[params.datasets[0]], by_dataset.values())
    own = {name: _without(values, common) for name, values in by_dataset.items()}
    return {
        "datasets": params.datasets,
        "seeds": params.seeds,
        "methods": params.methods,
        "tables": {
            name: table.model_dump(exclude_defaults=True)
            for name, table in params.tables.items()
            if name in params.datasets
        },
        **common,
        "report": params.report.inputs(),
        "overrides": {name: values for name, values in own.items() if values},
    }


def of_specs(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what the report shows of the specs of methods and ablations, by name.

    That is the title, the changes of an ablation as text, and the place among all methods, which
    decides marks and colours; ablations come after all methods.
    """
    order = [*specs()]
    found: dict[str, dict[str, Any]] = {}
    for name in methods:
        place = order.index(name) if name in order else len(order)
        found[name] = {"title": title(name), "place": place}
        if (ablation := units()[name].ablation) is not None:
            found[name]["changes"] = ablation.text
    return found


def _shared(values: dict[str, Any], others: Collection[dict[str, Any]]) -> dict[str, Any]:
    """Return the part of a nested mapping that all others have too."""
    found = {}
    for key, value in values.items():
        if not all(key in other for other in others):
            continue
        if isinstance(value, dict):
            found[key] = _shared(value, [other[key] for other in others])
        elif all(other[key] == value for other in others):
            found[key] = value
    return found


def _without(values: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a nested mapping that another one lacks, without empty mappings."""
    found = {}
    for key, value in values.items():
        if not isinstance(value, dict):
            if key not in common:
                found[key] = value
        elif inner := _without(value, common.get(key, {})):
            found[key] = inner
    return found
