"""Say what the numbers were computed with: processor, system, packages, threads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

THREADS = "threads"
"""Part of a stage's definition, so that stages may differ in it."""


class EnvironmentRow(NamedTuple):
    """Hold one property, e.g. the version of torch. values: {value: number of stages}."""

    name: str
    values: dict[str, int]

    @property
    def differs(self) -> bool:
        return len(self.values) > 1 and self.name != THREADS


def environment_rows(provenance: Iterable[dict[str, Any]]) -> list[EnvironmentRow]:
    """Count the values of each property over all stages; stages without a record are left out.

    provenance: as `pipeline.lineage.results.provenance` returns it.
    """
    known = [found for p in provenance if (found := p.get("environment"))]
    rows = []
    for name in dict.fromkeys(name for found in known for name in found):
        values: dict[str, int] = {}
        for found in known:
            value = found.get(name, "none")
            values[value] = values.get(value, 0) + 1
        rows.append(EnvironmentRow(name, values))
    return rows
