"""The values that tuning may vary, and their ranges. The settings of each method declare them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from glta.config import Choices, Search, Section
from glta.methods.registry import specs
from glta.nearest import hint
from glta.params.model import Params

Values = dict[str, Any]
"""Parameters by dotted keys, such as {"settings.ease.l2": 200.0}."""

DIGITS = 3
"""Significant digits of a proposed value.

A value is rounded before it is measured, so that params.yaml gets exactly the measured value.
"""


@dataclass(frozen=True)
class Range:
    """Say where tuning looks for one value.

    search: the mark of the setting. whole: whether the value is a whole number.
    The values that optuna sees are "coded": the place in the list for choices that are numbers,
    whose order then counts, and the value itself for all else.
    """

    search: Search | Choices
    whole: bool = False

    @property
    def distribution(self) -> FloatDistribution | IntDistribution | CategoricalDistribution:
        """The coded values, for optuna."""
        search = self.search
        if isinstance(search, Choices):
            if self._ordered:
                return IntDistribution(0, len(search.values) - 1)
            return CategoricalDistribution(search.values)
        if self.whole:
            return IntDistribution(int(search.low), int(search.high), log=search.log)
        return FloatDistribution(search.low, search.high, log=search.log)

    def holds(self, value: Any) -> bool:
        """Tell whether tuning could propose a value."""
        if isinstance(self.search, Choices):
            return value in self.search.values
        return self.search.low <= value <= self.search.high

    def code(self, value: Any) -> Any:
        """Return a value as optuna sees it."""
        if isinstance(self.search, Choices) and self._ordered:
            return self.search.values.index(value)
        return value

    def decode(self, coded: Any) -> Any:
        """Return a value from what optuna sees."""
        if isinstance(self.search, Choices) and self._ordered:
            return self.search.values[coded]
        return coded

    def rounded(self, coded: Any) -> Any:
        """Round to DIGITS significant digits. Whole numbers and choices are not changed."""
        if isinstance(coded, float) and isinstance(self.search, Search):
            return float(f"{coded:.{DIGITS}g}")
        return coded

    @property
    def _ordered(self) -> bool:
        return isinstance(self.search, Choices) and all(
            isinstance(value, int | float) and not isinstance(value, bool)
            for value in self.search.values
        )

    @property
    def steps(self) -> str:
        """Describe the values between the ends, or the choices."""
        search = self.search
        if isinstance(search, Choices):
            return "one of " + ", ".join(map(in_short, search.values))
        return ("whole numbers, " if self.whole else "") + ("by factors" if search.log else "even")


def in_short(value: Any) -> str:
    """Write a value: numbers in few digits, words and true and false as in params.yaml."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def space(method: str) -> dict[str, Range]:
    """Return the ranges that tuning searches, by dotted keys. {} if the method declares none.

    Raises ValueError for an unknown method.
    """
    if method not in specs():
        raise ValueError(
            f"{method}: unknown method{hint(method, specs(), listed_by='glta methods')}"
        )
    settings = specs()[method].settings
    return {
        f"settings.{method}.{key}": Range(search, whole=_type_of(settings, key) is int)
        for key, search in settings.search_space().items()
    }


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
    """Return all ranges: {"method", "key", "default", "from", "to", "steps"} for each key.

    Choices have None for "from" and "to", and are listed in "steps".
    """
    rows = []
    for method in specs():
        defaults = present_values(method, Params())
        for key, found in space(method).items():
            low, high = (getattr(found.search, end, None) for end in ("low", "high"))
            limits = {"default": defaults[key], "from": low, "to": high, "steps": found.steps}
            rows.append({"method": method, "key": key, **limits})
    return rows


def space_table() -> str:
    """Return all ranges as a Markdown table, for docs/tuning.md."""
    lines = ["| method | key | default | from | to | steps |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row['method']} | `{row['key']}` | {in_short(row['default'])} | "
        f"{in_short(row['from'])} | {in_short(row['to'])} | {row['steps']} |"
        for row in space_rows()
    ]
    return "\n".join(lines)
