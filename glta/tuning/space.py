"""The values that tuning may vary, and their ranges. The settings of each method declare them."""

from __future__ import annotations

from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from glta.config import Section
from glta.methods.registry import specs
from glta.nearest import hint
from glta.params.model import Params

Values = dict[str, Any]
"""Parameters by dotted keys, such as {"settings.ease.l2": 200.0}."""

Range = FloatDistribution | IntDistribution
"""The range of one value."""


def space(method: str) -> dict[str, Range]:
    """Return the ranges that tuning searches, by dotted keys. {} if the method declares none.

    Raises ValueError for an unknown method.
    """
    if method not in specs():
        raise ValueError(
            f"{method}: unknown method{hint(method, specs(), listed_by='glta methods')}"
        )
    settings = specs()[method].settings
    found: dict[str, Range] = {}
    for key, search in settings.search_space().items():
        name = f"settings.{method}.{key}"
        if _type_of(settings, key) is int:
            found[name] = IntDistribution(int(search.low), int(search.high), log=search.log)
        else:
            found[name] = FloatDistribution(search.low, search.high, log=search.log)
    return found


def _type_of(section: type[Section], key: str) -> Any:
    """Return the type of a key of a section. key: dotted within nested sections."""
    first, _, rest = key.partition(".")
    kind: Any = section.model_fields[first].annotation
    return _type_of(kind, rest) if rest else kind


def present_values(method: str, params: Params) -> Values:
    """Return the present values of the keys that tuning may vary.

    params: with the dataset's overrides applied.
    """
    found = {}
    for key in space(method):
        section, _, last = key.rpartition(".")
        found[key] = getattr(params.section(section), last)
    return found


def space_rows() -> list[dict[str, Any]]:
    """Return all ranges: {"method", "key", "default", "from", "to", "steps"} for each key."""
    rows = []
    for method in specs():
        defaults = present_values(method, Params())
        for key, d in space(method).items():
            whole = "whole numbers, " if isinstance(d, IntDistribution) else ""
            limits = {"default": defaults[key], "from": d.low, "to": d.high}
            steps = whole + ("by factors" if d.log else "even")
            rows.append({"method": method, "key": key, **limits, "steps": steps})
    return rows


def space_table() -> str:
    """Return all ranges as a Markdown table, for docs/tuning.md."""
    lines = ["| method | key | default | from | to | steps |", "|---|---|---|---|---|---|"]
    lines += [
        "| {method} | `{key}` | {default:g} | {from:g} | {to:g} | {steps} |".format(**row)
        for row in space_rows()
    ]
    return "\n".join(lines)
