"""Read params.yaml and check it. Every mistake is one line: file, key, value and fix."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from glta.config import Section, file_fields
from glta.methods.registry import models, units
from glta.params.model import SECTIONS, MethodSettings, Params

MOVED = {
    "baselines": "is gone: `methods` alone decides what is trained, ranked and reported",
    "ablations": "is gone: name ablations under `methods`",
    "pretrain": "is settings.lightgcn now",
    "align": "is settings.glta.align now",
    "align_items": "is settings.glta.align_items now",
    "align_users": "is settings.glta.align_users now",
    "fit": "is settings.lightgcn-text-knn now",
    "recommend.mode": "is settings.glta.serve.mode now",
    "settings.glta-plus.evidences": "is settings.glta-plus.components now",
}
"""Keys of older parameter files, and where they are. The same holds for a dataset's overrides."""


class ParamsError(ValueError):
    """Say what is wrong with a parameter: file, key, value, range, and the nearest valid key."""


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check a parameter file. Raises ParamsError, one line a mistake."""
    return check_params(
        read_mapping(path, "`glta params sync` writes one with the defaults"), str(path)
    )


def read_mapping(path: Path | str, advice: str) -> dict[str, Any]:
    """Read a YAML file of parameters, unchecked.

    Raises ParamsError, with the advice where there is no such file.
    """
    from ruamel.yaml import YAML, YAMLError

    path = Path(path)
    try:
        data = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; {advice}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ParamsError(f"{path}: must be a mapping of parameters; {advice}")
    return data


def check_params(data: dict[str, Any], source: str = "params.yaml") -> Params:
    """Turn a plain mapping into Params, with every cross-check. Raises ParamsError."""
    params = typed(data, source)
    problems = [*_cross_checks(params)]
    for name, sections in params.overrides.items():
        for section, values in sections.items():
            where = f"overrides.{name}.{section}"
            if section in MOVED:
                problems.append(f"{where}: {MOVED[section]}")
                continue
            if section not in SECTIONS:
                problems.append(f"{where}: unknown key{_nearest(section, SECTIONS)}")
                continue
            model = Params.model_fields[section].annotation
            try:
                model.model_validate(getattr(params, section).changed(values))
            except ValidationError as error:
                problems += [_explain("", e, model, where) for e in error.errors()]
    if not problems:
        for name in params.datasets:
            problems += _dataset_checks(params.for_dataset(name), name)
    if problems:
        raise ParamsError("\n".join(f"{source} {p.strip()}" for p in dict.fromkeys(problems)))
    return params


def typed(data: dict[str, Any], source: str) -> Params:
    """Turn a plain mapping into Params, without the cross-checks. Raises ParamsError."""
    if moved := [key for key in MOVED if key in data]:
        raise ParamsError("\n".join(f"{source} {key}: {MOVED[key]}" for key in moved))
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(source, e, Params) for e in error.errors())) from None


def _cross_checks(p: Params):
    """Yield what no single field can see."""
    from glta.datasets.catalogue import REGISTRY

    known = {*REGISTRY, *p.tables}
    for key in ("datasets", "seeds", "methods"):
        values = getattr(p, key)
        if len(set(values)) < len(values):
            yield f"{key} = {values}: names an entry twice"
    for name in p.tables:
        if name in REGISTRY:
            yield f"tables.{name}: is the name of a registered dataset; choose another"
    for name in p.datasets:
        if name not in known:
            yield f"datasets: unknown dataset {name}{_nearest(name, known)}"
        elif missing := whole_overrides({}).keys() - (own := p.overrides.get(name, {})).keys():
            yield (
                f"overrides.{name}: has no {_named(missing, SECTIONS)}; every section needs an "
                f"entry, {SYNC}"
            )
        elif missing := _missing(whole_overrides({})["settings"], own["settings"]):
            yield (
                f"overrides.{name}.settings: has no {_named(missing, missing)}; every method "
                f"needs an entry, {SYNC}"
            )
    for name in p.methods:
        if name not in models():
            yield f"methods: unknown method {name}{_nearest(name, models())}"
    if p.reference not in p.methods:
        yield f"report.reference = {p.reference}: must be null or one of methods {p.methods}"


def _dataset_checks(p: Params, name: str):
    """Yield what must hold once a dataset's overrides are in place."""
    where = f"(dataset {name}) "
    if p.prepare.valid_share + p.prepare.test_share >= 1:
        yield (
            "prepare.valid_share + prepare.test_share = "
            f"{p.prepare.valid_share + p.prepare.test_share} {where}: must be < 1"
        )
    if p.recommend.k < max(p.evaluate.cutoffs):
        yield (
            f"recommend.k = {p.recommend.k} {where}: must be >= the largest of "
            f"evaluate.cutoffs, {max(p.evaluate.cutoffs)}"
        )
    for name_ in p.methods:
        unit = units()[name_]
        if unit.ablation and p.with_values(unit.values) == p:
            yield (
                f"methods: {name_} {where}: would be {unit.method.name} itself, which has "
                f"{unit.ablation.text} already"
            )
    if p.profile.provider == "language_model" and not p.profile.generator:
        yield f'profile.generator = "" {where}: provider language_model needs a hub id or folder'
    if p.profile.provider == "endpoint" and not (p.profile.endpoint and p.profile.endpoint_model):
        yield (
            f'profile.endpoint = "{p.profile.endpoint}" {where}: provider endpoint needs '
            "endpoint and endpoint_model"
        )
    metric, _, cutoff = p.report.metric.partition("@")
    if not cutoff.isdigit() or int(cutoff) not in p.evaluate.cutoffs or metric not in METRICS:
        valid = [f"{m}@{k}" for k in p.evaluate.cutoffs for m in METRICS]
        yield f"report.metric = {p.report.metric}: unknown metric{_nearest(p.report.metric, valid)}"


def _missing(wanted: dict[str, Any], given: dict[str, Any], prefix: str = "") -> list[str]:
    """Name the entries of a nested mapping that another one lacks."""
    found = []
    for key, inner in wanted.items():
        if key not in given:
            found.append(f"{prefix}{key}")
        else:
            found += _missing(inner, given[key], f"{prefix}{key}.")
    return found


SYNC = "also an empty one; `glta params sync` adds them"


def _named(keys: Collection[str], order: Iterable[str]) -> str:
    """Name at most three keys, in their order."""
    found = [key for key in order if key in keys]
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def whole_overrides(given: dict[str, Any]) -> dict[str, Any]:
    """Complete a dataset's overrides: an entry for each section, and in `settings` for each method.

    A stage depends on each of them, and DVC cannot follow an entry that is missing.
    """
    empty: dict[str, Any] = {section: {} for section in SECTIONS}
    empty["settings"] = {name: _parts(f.annotation) for name, f in method_fields().items()}
    return merged(empty, given)


def method_fields() -> dict[str, Any]:
    """Return the fields of `settings` by the names of the methods."""
    return file_fields(MethodSettings)


def _parts(model: Any) -> dict[str, Any]:
    """Make an empty entry for each section within the settings of a method."""
    fields = file_fields(model).items()
    return {name: {} for name, field in fields if _is_section(field.annotation)}


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def merged(old: Any, new: Any) -> Any:
    """Put values into a nested mapping; what is no mapping is replaced."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {key: merged(old.get(key), value) for key, value in new.items()}


METRICS = ("precision", "recall", "ndcg", "mrr", "map", "hit_rate")


def _nearest(key: str, valid) -> str:
    valid = sorted(valid)
    found = difflib.get_close_matches(key, valid, n=1, cutoff=0.4)
    return f"; nearest is {found[0]}" if found else f"; valid are {', '.join(valid)}"


def _explain(source: str, error: dict, model: type[BaseModel], prefix: str = "") -> str:
    """Put one pydantic error into the house form: where = value: what must hold."""
    path = [*(prefix.split(".") if prefix else []), *(str(p) for p in error["loc"])]
    where, value = ".".join(path), error["input"]
    if error["type"] == "extra_forbidden":
        for key, words in MOVED.items():
            if "." in key and f".{where}".endswith(f".{key}"):
                return f"{source} {where}: {words}".strip()
        for part in error["loc"][:-1]:
            field = file_fields(model).get(str(part))
            inner = field.annotation if field else None
            inner = next(
                (a for a in get_args(inner) if isinstance(a, type) and issubclass(a, BaseModel)),
                inner,
            )
            model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else model
        return (
            f"{source} {where} = {value!r}: unknown key{_nearest(path[-1], file_fields(model))}"
        ).strip()
    if error["type"] == "missing":
        return f"{source} {where}: is required".strip()
    message = (
        error["msg"]
        .replace("Input should be", "must be")
        .replace("greater than", ">")
        .replace("less than", "<")
    )
    message = message.replace("> or equal to", ">=").replace("< or equal to", "<=")
    return f"{source} {where} = {value!r}: {message}".strip()
