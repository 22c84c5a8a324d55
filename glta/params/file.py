"""params.yaml as text: written from `Params`, changed in place with its comments,
compared, locked.
"""

from __future__ import annotations

import fcntl
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from glta.config import Section, file_fields
from glta.params.check import check_params, load_params, merged, typed, whole_overrides
from glta.params.model import Params, nested

if TYPE_CHECKING:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap


def render_params(params: Params) -> str:
    """Write params.yaml: every key with its value, its comment and its range, in the order of this
    file.
    """
    lines = [
        "# All parameters of the pipeline. Edit the values, keep the keys;",
        "# `glta params sync` restores comments and adds new keys, `glta params check` says what "
        "is wrong.",
        "",
    ]
    for name, field in Params.model_fields.items():
        value = getattr(params, name)
        if isinstance(value, Section):
            lines += [
                "",
                f"# {in_one_line(type(value).__doc__)}",
                f"{name}:",
                *_entries(value, "  "),
            ]
        elif name == "tables":
            lines += ["", f"# {field.description}"]
            lines += ["tables:"] if value else ["tables: {}"]
            for table, entry in value.items():
                lines += [f"  {table}:"]
                lines += [
                    f"    {k}: {_flow(v)}"
                    for k, v in entry.model_dump(exclude_defaults=True).items()
                ]
        elif name == "overrides":
            lines += ["", f"# {field.description}", "overrides:"]
            for dataset in dict.fromkeys([*value, *params.datasets, *params.tables]):
                lines += [f"  {dataset}:"]
                lines += [
                    f"    {s}: {_flow(v)}"
                    for s, v in whole_overrides(value.get(dataset, {})).items()
                ]
        else:
            lines += [f"{name}: {_flow(value)}  # {_comment(field)}"]
    return "\n".join(lines) + "\n"


def renewed(path: Path) -> tuple[Params, Params, str]:
    """Read a parameter file, or the defaults without one, and write it anew.

    Returns the parameters, the parameters with today's checksums of the user's own files, and the
    text. Raises ParamsError.
    """
    from ruamel.yaml import YAML, YAMLError

    from glta.params.own_files import with_checksums

    old = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        data = YAML(typ="safe").load(old) or Params().model_dump()
        overrides = dict(data.get("overrides") or {})
        # what a stage depends on must be there, also when it is empty
        for dataset in data.get("datasets") or []:
            overrides[dataset] = whole_overrides(overrides.get(dataset) or {})
        data |= {"overrides": overrides}
    except (YAMLError, AttributeError, TypeError, ValueError):
        load_params(path)  # it is not of this form: let the check say how
        raise
    params = check_params(data, str(path))
    current = with_checksums(params)
    return params, current, render_params(current)


def override(text: str, dataset: str, values: dict[str, Any]) -> str:
    """Put values into overrides.DATASET of a parameter file's text and leave all else as it is,
    comments too.

    values: by dotted keys, e.g. "settings.ease.l2". Raises ParamsError when the result is no valid
    file.
    """
    yaml = _round_trip()
    data = yaml.load(text)
    given = data["overrides"][dataset]
    for section, inner in nested(values).items():
        whole = whole_overrides(merged({section: given[section]}, {section: inner}))[section]
        # read back from one line: the file then has the form that `glta params sync` writes,
        # numbers too
        given[section] = yaml.load(_flow(whole))
    return _dumped(yaml, data, "params.yaml")


def use(text: str, experiment: dict[str, Any], source: str) -> str:
    """Put an experiment's values into a parameter file's text and leave all else as it is, comments
    too.

    experiment: some of the file's keys. Mappings are merged, so that what was tuned stays unless
    the very key is named; all else takes the place of what was there. source: names the experiment
    in errors. Raises ParamsError.
    """
    from ruamel.yaml.comments import CommentedMap

    yaml = _round_trip()
    data = yaml.load(text)
    params = typed(merged(data, experiment), source)

    def block() -> CommentedMap:
        made = CommentedMap()
        made.fa.set_block_style()
        return made

    def fill(node: CommentedMap, values: dict[str, Any], indent: int) -> None:
        for key, value in values.items():
            old = node.get(key)
            if isinstance(value, dict) and isinstance(old, CommentedMap):
                if (
                    old.fa.flow_style() is False
                ):  # one entry a line; an empty one may still become either
                    fill(old, value, indent + 2)
                    continue
                value = merged(old, value)
            written = _flow(value)
            node[key] = yaml.load(written)
            if comment := node.ca.items.get(key, [None] * 3)[2]:
                comment.column = indent + len(f"{key}: {written}") + 2

    # the comment above the next section, which hangs on the last entry of the one before
    below = {}
    for key, names in {
        "tables": experiment.get("tables", {}),
        "overrides": [*params.overrides, *params.datasets],
    }.items():
        if not data.get(key):
            data[key] = block()
        else:
            node, last = _last(data[key])
            below[key] = node.ca.items.pop(last, None)
        for name in names:
            data[key].setdefault(name, block())
    missing = {name: whole_overrides(params.overrides.get(name, {})) for name in params.datasets}
    fill(data, experiment | {"overrides": merged(missing, experiment.get("overrides", {}))}, 0)
    for key, comment in below.items():
        node, last = _last(data[key])
        if comment:
            node.ca.items[last] = comment
    return _dumped(yaml, data, source)


def _last(node: CommentedMap) -> tuple[CommentedMap, str]:
    """Find the innermost entry that a mapping in block style ends with."""
    key = next(reversed(node))
    inner = node[key]
    return (
        _last(inner)
        if isinstance(inner, dict) and inner and inner.fa.flow_style() is False
        else (node, key)
    )


def changes(old: dict[str, Any], new: dict[str, Any], path: str = "") -> list[str]:
    """List what differs between two mappings, a line each: KEY: OLD -> NEW.

    An empty mapping is none.
    """
    lines = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) or isinstance(after, dict):
            lines += changes(before or {}, after or {}, f"{path}{key}.")
        elif before != after:
            lines.append(
                f"{path}{key}: {_flow(before) if key in old else 'not set'} -> {_flow(after)}"
            )
    return lines


def _round_trip() -> YAML:
    """Make a reader and writer of YAML that keeps comments, quotes and the form of numbers."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 10_000, True
    yaml.representer.add_representer(
        type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _dumped(yaml: YAML, data: Any, source: str) -> str:
    """Write what `_round_trip` has read. Raises ParamsError when it is no valid parameter file."""
    out = io.StringIO()
    yaml.dump(data, out)
    check_params(yaml.load(out.getvalue()), source)
    return out.getvalue()


@contextmanager
def locked_params() -> Iterator[None]:
    """Hold params.yaml of this folder while it is read and written: two commands may end at
    once.
    """
    path = Path(".pipe/params.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def in_one_line(text: str) -> str:
    """Join the lines of a docstring."""
    return " ".join(text.split())


def _entries(section: Section, indent: str) -> list[str]:
    """Write a section's keys, one a line; a nested section with its own description."""
    lines = []
    for (name, field), (_, value) in zip(file_fields(type(section)).items(), section, strict=True):
        if not isinstance(value, Section):
            lines += [f"{indent}{name}: {_flow(value)}  # {_comment(field)}"]
        elif inner := _entries(value, indent + "  "):
            lines += [f"{indent}{name}:  # {in_one_line(type(value).__doc__)}", *inner]
        else:
            lines += [f"{indent}{name}: {{}}  # {in_one_line(type(value).__doc__)}"]
    return lines


def _flow(value: Any) -> str:
    """Write a value as one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return repr(value) if "e" not in repr(value) else repr(value).replace("e-0", "e-")
    if isinstance(value, int):
        return str(value)
    import json

    plain = value.replace("-", "a").replace("_", "a").replace("/", "a").replace(".", "a")
    word = (
        plain.isalnum()
        and value[:1].isalpha()
        and value.lower() not in {"null", "true", "false", "yes", "no", "on", "off"}
    )
    return value if word else json.dumps(value)


def _comment(field) -> str:
    """Describe a field: its description and its range or choices."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = [
        f"{signs[k]} {getattr(m, k)}"
        for m in field.metadata
        for k in signs
        if getattr(m, k, None) is not None
    ]
    choices = [str(a) for a in get_args(field.annotation) if isinstance(a, str)]
    extra = " | ".join(choices) if choices else ", ".join(limits)
    return f"{field.description} [{extra}]" if extra else f"{field.description}"
