"""Write params.yaml from `Params`, change single values in its text, compare and lock it."""

from __future__ import annotations

import fcntl
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from glta.config import Section, file_fields
from glta.params.check import (
    ParamsError,
    check_params,
    load_params,
    merged,
    named,
    read_mapping,
    typed,
    whole_overrides,
)
from glta.params.model import Params, nested

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap


def render_params(params: Params) -> str:
    """Return the text of params.yaml: every key with its value, its comment and its range.

    Comments are those of the code alone. The user's own are not kept, because nothing tells them
    from those that an older version of the code has written.
    """
    lines = [
        "# All parameters of the pipeline. Edit the values, and keep the keys.",
        "# `glta params sync` adds new keys and writes all comments anew: your own are removed.",
        "# `glta params check` finds mistakes.",
        "",
    ]
    for name, field in Params.model_fields.items():
        value = getattr(params, name)
        if isinstance(value, Section):
            lines += [
                "",
                f"# {in_one_line(type(value).__doc__ or '')}",
                f"{name}:",
                *_entries(value, "  "),
            ]
        elif name == "tables":
            lines += ["", f"# {field.description}"]
            lines += ["tables:"] if value else ["tables: {}"]
            for table, entry in value.items():
                given = entry.model_dump(exclude_defaults=True)
                lines += [f"  {as_yaml(table)}:"]
                lines += [f"    {k}: {as_yaml(v)}" for k, v in given.items()]
        elif name == "overrides":
            lines += ["", f"# {field.description}", "overrides:"]
            for dataset, whole in _all_overrides(params).items():
                lines += [f"  {as_yaml(dataset)}:"]
                lines += [f"    {s}: {as_yaml(v)}" for s, v in whole.items()]
        else:
            lines += [f"{name}: {as_yaml(value)}  # {_comment(field)}"]
    return "\n".join(lines) + "\n"


def _all_overrides(params: Params) -> dict[str, dict[str, Any]]:
    """Return the overrides as the file has them: with an entry for every dataset and section."""
    given = params.overrides
    names = dict.fromkeys([*given, *params.datasets, *params.tables])
    return {name: whole_overrides(given.get(name, {})) for name in names}


def renewed(path: Path) -> tuple[Params, Params, str]:
    """Read a parameter file, and return its parameters and its new text. Nothing is written.

    Without a file they are the defaults. The second of the three results is the parameters with the
    present checksums of the user's own files and models; the text is made from them. Raises
    ParamsError.
    """
    from ruamel.yaml import YAML, YAMLError

    from glta.params.own_files import with_checksums
    from glta.params.own_models import with_model_checksums

    old = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        data = YAML(typ="safe").load(old) or Params().model_dump()
        overrides = dict(data.get("overrides") or {})
        # every section has an entry, also an empty one
        for dataset in data.get("datasets") or []:
            overrides[dataset] = whole_overrides(overrides.get(dataset) or {})
        data |= {"overrides": overrides}
    except (YAMLError, AttributeError, TypeError, ValueError):
        load_params(path)  # raises ParamsError with the reason
        raise
    params = check_params(data, str(path))
    current = with_model_checksums(with_checksums(params))
    text = render_params(current)
    _refuse_other(text, current, str(path))
    return params, current, text


def refuse_part(path: Path) -> None:
    """Raise ParamsError for a file that has only some of the parameters, as an experiment.

    A file that is not there passes.
    """
    if not path.exists():
        return
    given = read_mapping(path, "name a whole parameter file")
    if missing := Params.model_fields.keys() - given.keys():
        raise ParamsError(
            f"{path}: has no {named(missing, Params.model_fields)}, as an experiment; only a whole "
            f"file is regenerated: `glta params use {path}` puts an experiment's values into "
            "params.yaml"
        )


def _refuse_other(text: str, params: Params, source: str) -> None:
    """Raise ParamsError when the text of a parameter file would not be read as the parameters.

    A file that no command can read again could be mended by hand alone.
    source: the file, for messages.
    """
    from ruamel.yaml import YAML, YAMLError

    meant = params.model_dump() | {"overrides": _all_overrides(params)}
    try:
        found = check_params(YAML(typ="safe").load(text), source).model_dump()
        wrong = "; ".join(changes(meant, found))
    except (YAMLError, ParamsError) as error:
        wrong = " ".join(str(error).split())
    if wrong:
        raise ParamsError(
            f"{source}: is left as it is, because the new text would not be read as what it "
            f"says: {wrong}; write this value with other characters"
        )


def override(text: str, dataset: str, values: dict[str, Any]) -> str:
    """Return a parameter file's text with some values put into overrides.DATASET.

    All else stays as it is, comments too. values: by dotted keys, such as "settings.ease.l2".
    Raises ParamsError when the result is not a valid parameter file.
    """
    yaml = _round_trip()
    data = yaml.load(text)
    given = data["overrides"][dataset]
    for section, inner in nested(values).items():
        whole = whole_overrides(merged({section: given[section]}, {section: inner}))[section]
        # through text, so that the file has the form that `glta params sync` writes, numbers too
        given[section] = yaml.load(as_yaml(whole))
    return _dumped(yaml, data, "params.yaml")


def use(text: str, experiment: dict[str, Any], source: str) -> str:
    """Return a parameter file's text with an experiment's values put in.

    All else stays as it is, comments too.
    experiment: some of the file's keys. Mappings are merged: a tuned value stays unless the
        experiment has the same key. All other values are replaced, and report.not_tuned with the
        section `report`, as its reasons hold for the methods of one experiment.
    source: the experiment's file, for messages. Raises ParamsError.
    """
    from ruamel.yaml.comments import CommentedMap

    yaml = _round_trip()
    data = yaml.load(text)
    if "report" in experiment and "not_tuned" in data.get("report", {}):
        data["report"]["not_tuned"].clear()
        experiment = merged({"report": {"not_tuned": {}}}, experiment)
    params = typed(merged(data, experiment), source)

    def block() -> CommentedMap:
        """Make an empty mapping with one entry a line."""
        made = CommentedMap()
        made.fa.set_block_style()
        return made

    def in_quotes(key: str) -> str:
        """Return a key with the quotes that `glta params sync` would write it in, if any."""
        written = as_yaml(key)
        return key if written == key else yaml.load(written)

    def fill(node: CommentedMap, values: dict[str, Any], indent: int) -> None:
        """Put values into a mapping, with the comments at the ends of the new lines."""
        for key, value in values.items():
            old = node.get(key)
            if isinstance(value, dict) and isinstance(old, CommentedMap):
                # False: one entry a line. It is None for an empty mapping.
                if old.fa.flow_style() is False:
                    fill(old, value, indent + 2)
                    continue
                value = merged(old, value)
            written = as_yaml(value)
            node[in_quotes(key)] = yaml.load(written)
            if comment := node.ca.items.get(key, [None] * 3)[2]:
                comment.column = indent + len(f"{key}: {written}") + 2

    # ruamel.yaml keeps the comment above a section at the last entry of the section before; it is
    # taken off while entries are added, and then put at the new last entry
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
            data[key].setdefault(in_quotes(name), block())
    whole = {name: whole_overrides(params.overrides.get(name, {})) for name in params.datasets}
    fill(data, experiment | {"overrides": merged(whole, experiment.get("overrides", {}))}, 0)
    for key, comment in below.items():
        node, last = _last(data[key])
        if comment:
            node.ca.items[last] = comment
    return _dumped(yaml, data, source)


def _last(node: CommentedMap) -> tuple[CommentedMap, str]:
    """Return the innermost last entry of a mapping with one entry a line: its mapping and key."""
    from ruamel.yaml.comments import CommentedMap

    key = next(reversed(node))
    inner = node[key]
    if isinstance(inner, CommentedMap) and inner and inner.fa.flow_style() is False:
        return _last(inner)
    return node, key


def changes(old: dict[str, Any], new: dict[str, Any], path: str = "") -> list[str]:
    """Return the differences between two nested mappings, one line each: KEY: OLD -> NEW.

    An empty mapping counts as missing. path: put before each key.
    """
    lines = []
    for key in dict.fromkeys([*old, *new]):
        before = old.get(key)
        after = new.get(key)
        if isinstance(before, dict) or isinstance(after, dict):
            lines += changes(before or {}, after or {}, f"{path}{key}.")
        elif before != after:
            lines.append(
                f"{path}{key}: {as_yaml(before) if key in old else 'not set'} -> {as_yaml(after)}"
            )
    return lines


def _round_trip() -> YAML:
    """Make a reader and writer of YAML that keeps comments, quotes and the form of numbers."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 10_000
    yaml.preserve_quotes = True
    yaml.representer.add_representer(
        type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _dumped(yaml: YAML, data: Any, source: str) -> str:
    """Return the text of what `_round_trip` read. Raises ParamsError when it is not valid."""
    out = io.StringIO()
    yaml.dump(data, out)
    check_params(yaml.load(out.getvalue()), source)
    return out.getvalue()


@contextmanager
def locked_params() -> Iterator[None]:
    """Lock params.yaml of the working directory while it is read and written.

    Two commands that end at the same time then write one after the other.
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
    """Return the lines of a section: its keys, and the lines of the sections within it."""
    lines = []
    for (name, field), (_, value) in zip(file_fields(type(section)).items(), section, strict=True):
        if not isinstance(value, Section):
            lines += [f"{indent}{name}: {as_yaml(value)}  # {_comment(field)}"]
        elif inner := _entries(value, indent + "  "):
            lines += [f"{indent}{name}:  # {in_one_line(type(value).__doc__ or '')}", *inner]
        else:
            lines += [f"{indent}{name}: {{}}  # {in_one_line(type(value).__doc__ or '')}"]
    return lines


def as_yaml(value: Any) -> str:
    """Write a value, or a key, as one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_yaml(k)}: {as_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return repr(value) if "e" not in repr(value) else repr(value).replace("e-0", "e-")
    if isinstance(value, int):
        return str(value)
    plain = value.replace("-", "a").replace("_", "a").replace("/", "a").replace(".", "a")
    word = (
        plain.isalnum()
        and value[:1].isalpha()
        and value.lower() not in {"null", "true", "false", "yes", "no", "on", "off"}
    )
    return value if word else _quoted(value)


UNREADABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that YAML refuses or takes for ends of lines. JSON leaves them as they are."""


def _quoted(text: str) -> str:
    """Write a text in double quotes, as JSON does, which YAML reads as well.

    Letters and pictures of all languages stay as they are. JSON would write those above 16 bits as
    two numbers, and YAML reads each number as a character.
    """
    import json

    written = json.dumps(text, ensure_ascii=False)
    return UNREADABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def _comment(field: FieldInfo) -> str:
    """Return a field's description, with its range or its choices."""
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
