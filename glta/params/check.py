"""Read params.yaml and check it. Every mistake is one line of the error: file, key, value, fix."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from glta.config import Section, file_fields
from glta.methods.registry import models, units
from glta.nearest import hint
from glta.params.model import SECTIONS, MethodSettings, Params

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MOVED = {
    "baselines": "is gone: `methods` alone decides what is trained, ranked and reported",
    "ablations": "is gone: name ablations under `methods`",
    "pretrain": "is settings.lightgcn now",
    "align": "is settings.glta.align now",
    "align_items": "is settings.glta.align_items now",
    "align_users": "is settings.glta.align_users now",
    "fit": "is settings.lightgcn-text-knn now",
    "recommend.mode": "is settings.glta.serve.mode now",
    "settings.ease.max_items": "is settings.ease.max_gb now: I items need 12 I^2 bytes",
}
for _name in ("l2", "text_weight", "user_power", "max_items"):
    MOVED[f"settings.glta-plus.{_name}"] = (
        "belongs to settings.cease now; what was glta-plus is blend-cease"
    )
for _name in ("lightgcn", "lightgcn-plus", "hccf", "hccf-plus", "rlmrec-con", "rlmrec-gen"):
    MOVED[f"settings.{_name}.epochs"] = (
        "is steps now, which counts training steps; evaluate_every counts steps too"
    )
    MOVED[f"settings.{_name}.contrast_batch"] = "is gone: the contrast is of the whole batch"
"""Keys of older parameter files, and where they are now. Overrides of datasets have them too."""

RESERVED = ("code", "evaluate", "params", "report")
"""Folders beside those of the datasets, in data/."""

LONGEST_VALUE = 80
"""Characters of a value in a message."""


class ParamsError(ValueError):
    """A parameter is wrong. The message has a line for each mistake: file, key, value and fix."""


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check a parameter file. Raises ParamsError with one line for each mistake."""
    data = read_mapping(path, "`glta params sync` writes one with the defaults")
    return check_params(data, str(path))


def read_mapping(path: Path | str, advice: str) -> dict[str, Any]:
    """Read a YAML file of parameters, without checking keys and values.

    advice: what to do when there is no such file, for the message. Raises ParamsError when the file
    is missing, is not YAML or holds no mapping.
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
    """Turn a plain mapping into Params, and check it in full, overrides included.

    source: the file, for messages. Raises ParamsError.
    """
    params = typed(data, source)
    problems = [*_cross_checks(params)]
    for name, sections in params.overrides.items():
        for section, values in sections.items():
            where = f"overrides.{name}.{section}"
            if section in MOVED:
                problems.append(f"{where}: {MOVED[section]}")
                continue
            if section not in SECTIONS:
                problems.append(f"{where}: unknown key{hint(section, SECTIONS)}")
                continue
            model = type(getattr(params, section))
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
    """Turn a plain mapping into Params, and check each value alone.

    Overrides are not checked. source: the file, for messages. Raises ParamsError.
    """
    if moved := [key for key in MOVED if key in data]:
        raise ParamsError("\n".join(f"{source} {key}: {MOVED[key]}" for key in moved))
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(source, e, Params) for e in error.errors())) from None


def _known_datasets(p: Params) -> set[str]:
    """Return the names of the registered datasets and of the user's own tables."""
    from glta.datasets.catalogue import REGISTRY

    return {*REGISTRY, *p.tables}


def _cross_checks(p: Params) -> Iterator[str]:
    """Yield the mistakes that show only when several fields are compared."""
    from glta.datasets.catalogue import REGISTRY

    known = _known_datasets(p)
    for key in ("datasets", "seeds", "methods", "serve"):
        values = getattr(p, key)
        for value in dict.fromkeys(v for v in values if values.count(v) > 1):
            yield f"{key}: names {value} twice; name it once"
    for name in p.tables:
        if name in REGISTRY:
            yield f"tables.{name}: is the name of a registered dataset; choose another"
        elif name in RESERVED:
            yield f"tables.{name}: is the name of a folder of results; choose another"
    for name in p.overrides:
        if name not in known and name not in p.datasets:
            yield (
                f"overrides.{name}: unknown dataset{hint(name, known, listed_by='glta datasets')}; "
                f"rename or remove overrides.{name}"
            )
    for name in p.datasets:
        if name not in known:
            yield f"datasets: unknown dataset {name}{hint(name, known, listed_by='glta datasets')}"
        elif sections := whole_overrides({}).keys() - (own := p.overrides.get(name, {})).keys():
            yield (
                f"overrides.{name}: has no {named(sections, SECTIONS)}; every section needs an "
                f"entry, {SYNC}"
            )
        elif entries := _missing(whole_overrides({})["settings"], own["settings"]):
            yield (
                f"overrides.{name}.settings: has no {named(entries, entries)}; every method "
                f"needs an entry, {SYNC}"
            )
    for name in p.methods:
        if name not in models():
            yield f"methods: unknown method {name}{hint(name, models(), listed_by='glta methods')}"
    for name in p.serve:
        if name not in models():
            yield f"serve: unknown method {name}{hint(name, models(), listed_by='glta methods')}"
        elif name not in p.methods:
            yield f"serve: {name} is not trained; add it to methods, or take it out of serve"
    if p.reference not in p.methods:
        yield f"report.reference = {p.reference}: must be null or one of methods {shown(p.methods)}"
    yield from _not_tuned_checks(p)


def _not_tuned_checks(p: Params) -> Iterator[str]:
    """Yield the mistakes in the names and reasons of report.not_tuned."""
    for key, reason in p.report.not_tuned.items():
        where = f"report.not_tuned.{key}"
        dataset, separator, method = key.rpartition("/")
        if method not in models():
            yield f"{where}: unknown method{hint(method, models(), listed_by='glta methods')}"
        if separator and dataset not in (known := _known_datasets(p)):
            yield f"{where}: unknown dataset{hint(dataset, known, listed_by='glta datasets')}"
        if not reason.strip():
            yield f"{where}: has no reason; write in a few words why the method is not at its best"


def _dataset_checks(p: Params, name: str) -> Iterator[str]:
    """Yield the mistakes of one dataset. p: the parameters with the dataset's overrides applied."""
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
    for method in p.methods:
        unit = units()[method]
        if unit.ablation and p.with_values(unit.values) == p:
            yield (
                f"methods: {method} {where}: would be {unit.method.name} itself, which has "
                f"{unit.ablation.text} already; take one of the two out of methods"
            )
    if p.profile.provider == "language_model" and not p.profile.generator:
        yield f'profile.generator = "" {where}: provider language_model needs a hub id or folder'
    if p.profile.provider == "endpoint" and not (p.profile.endpoint and p.profile.endpoint_model):
        yield (
            f'profile.endpoint = "{p.profile.endpoint}" {where}: provider endpoint needs '
            "endpoint and endpoint_model"
        )
    valid = [f"{m}@{k}" for k in p.evaluate.cutoffs for m in METRICS]
    if p.report.metric not in valid:
        yield f"report.metric = {p.report.metric}: unknown metric{hint(p.report.metric, valid)}"


def _missing(wanted: dict[str, Any], given: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys of a nested mapping `wanted` that the mapping `given` lacks."""
    found: list[str] = []
    for key, inner in wanted.items():
        if key not in given:
            found.append(f"{prefix}{key}")
        else:
            found += _missing(inner, given[key], f"{prefix}{key}.")
    return found


SYNC = "also an empty one; `glta params sync` adds them"
"""End of the messages about missing entries of `overrides`."""


def named(keys: Collection[str], order: Iterable[str]) -> str:
    """Write at most three of the keys as text, and the number of the others.

    order: all possible keys, in their order.
    """
    found = [key for key in order if key in keys]
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def whole_overrides(given: dict[str, Any]) -> dict[str, Any]:
    """Add empty entries to a dataset's overrides, for each section and for each method in settings.

    They show where values go. A missing entry tells that a section or a method is newer than the
    file, which `glta params sync` then brings up to date, with dvc.yaml and plan.yaml.
    """
    empty: dict[str, Any] = {section: {} for section in SECTIONS}
    empty["settings"] = {name: _parts(f.annotation) for name, f in method_fields().items()}
    return merged(empty, given)


def method_fields() -> dict[str, Any]:
    """Return the pydantic fields of `settings`, by the names of the methods."""
    return file_fields(MethodSettings)


def _parts(model: Any) -> dict[str, Any]:
    """Return an empty entry for each section within a method's settings. model: their class."""
    fields = file_fields(model).items()
    return {name: {} for name, field in fields if _is_section(field.annotation)}


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def merged(old: Any, new: Any) -> Any:
    """Return a nested mapping with the values of another one put in.

    Mappings are merged key by key. All other values are replaced.
    """
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {key: merged(old.get(key), value) for key, value in new.items()}


METRICS = ("precision", "recall", "ndcg", "mrr", "map", "hit_rate")
"""The valid metrics of report.metric, without their cutoffs."""


def _explain(source: str, error: ErrorDetails, model: type[BaseModel], prefix: str = "") -> str:
    """Write one pydantic error as a line: file key = value: what must hold.

    model: the class that was validated. prefix: the dotted key of its place in the file.
    """
    # pydantic marks a wrong key by "[key]"
    loc = [str(part) for part in error["loc"] if part != "[key]"]
    path = [*(prefix.split(".") if prefix else []), *loc]
    where = ".".join(path)
    value = shown(error["input"])
    if error["type"] == "extra_forbidden":
        for key, words in MOVED.items():
            if "." in key and f".{where}".endswith(f".{key}"):
                return f"{source} {where}: {words}".strip()
        # follow the path to the class that has no such key
        for part in error["loc"][:-1]:
            field = file_fields(model).get(str(part))
            inner = field.annotation if field else None
            inner = next(
                (a for a in get_args(inner) if isinstance(a, type) and issubclass(a, BaseModel)),
                inner,
            )
            model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else model
        return (
            f"{source} {where} = {value}: unknown key{hint(path[-1], file_fields(model))}"
        ).strip()
    if error["type"] == "missing":
        return f"{source} {where}: is required".strip()
    return f"{source} {where} = {value}: {_must(error)}".strip()


WORDS = {
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a number, neither infinite nor nan",
    "bool": "must be true or false",
    "string": "must be text",
    "list": "must be a list, such as [a, b]",
    "dict": "must be keys with values, such as {key: value}",
    "model": "must be keys with values, such as {key: value}",
    "too_short": "must have an entry",
}
"""What must hold, by the beginning of the type of pydantic's error."""


def _must(error: ErrorDetails) -> str:
    """Write what must hold for a value that pydantic refuses, in plain words."""
    for kind, words in WORDS.items():
        if error["type"].startswith(kind):
            return words
    message = error["msg"]
    for words, shorter in (
        ("Value error, ", ""),
        ("Input should be", "must be"),
        ("greater than or equal to", ">="),
        ("less than or equal to", "<="),
        ("greater than", ">"),
        ("less than", "<"),
    ):
        message = message.replace(words, shorter)
    return message


def shown(value: Any) -> str:
    """Write a value as YAML has it, for a message. Long values are cut."""
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, list):
        text = f"[{', '.join(map(str, value))}]"
    else:
        text = str(value) if isinstance(value, date) else repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
