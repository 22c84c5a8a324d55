"""What tuning may vary, as the settings of each method declare it."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from glta.config import Section
from glta.methods.registry import specs
from glta.params.model import Params

Values = dict[str, Any]
"""Parameters by dotted keys, e.g. {"settings.ease.l2": 200.0}."""


def space(method: str) -> dict[str, BaseDistribution]:
    """Return the ranges that tuning searches, by dotted keys; empty if the method declares none.

    Raises ValueError for an unknown method.
    """
    if method not in specs():
        raise ValueError(f"{method}: unknown method; valid are {', '.join(specs())}")
    settings = specs()[method].settings
    found: dict[str, BaseDistribution] = {}
    for key, search in settings.search_space().items():
        name = f"settings.{method}.{key}"
        if _type_of(settings, key) is int:
            found[name] = IntDistribution(int(search.low), int(search.high), log=search.log)
        else:
            found[name] = FloatDistribution(search.low, search.high, log=search.log)
    return found


def _type_of(section: type[Section], key: str) -> Any:
    first, _, rest = key.partition(".")
    kind = section.model_fields[first].annotation
    if not rest:
        return kind
    assert kind is not None
    return _type_of(kind, rest)


def present_values(method: str, params: Params) -> Values:
    """Return what the parameters say now of the values that tuning may vary.

    params: with the dataset's overrides.
    """
    found = {}
    for key in space(method):
        section, _, last = key.rpartition(".")
        found[key] = getattr(params.section(section), last)
    return found


def space_table() -> str:
    """Write all ranges as a Markdown table, for docs/tuning.md."""
    lines = ["| method | key | default | from | to | steps |", "|---|---|---|---|---|---|"]
    for method in specs():
        defaults = present_values(method, Params())
        for key, d in space(method).items():
            whole = "whole numbers, " if isinstance(d, IntDistribution) else ""
            steps = whole + ("by factors" if d.log else "even")
            limits = f"{d.low:g} | {d.high:g}"
            lines.append(f"| {method} | `{key}` | {defaults[key]:g} | {limits} | {steps} |")
    return "\n".join(lines)
