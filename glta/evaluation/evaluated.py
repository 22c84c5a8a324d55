"""Results of one method on one split: the stage `evaluate` writes them, the report reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import polars as pl

from glta.storage.files import read_json, write_json
from glta.storage.schema import check_schema

SCHEMA = 2
"""Counts the forms that the saved results have had."""


@dataclass(frozen=True)
class Evaluated:
    """Hold the results of one method on one split.

    metrics: values by name. users: as `glta.evaluation.measure.Measurement.users`.
    summary: what else the report shows: dataset, seed, method, prepared (`Prepared.digest` of the
    split), source, counts, model, history, exhibit, groups, popularity.
    """

    metrics: dict[str, float]
    users: pl.DataFrame
    summary: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write metrics.json, users.parquet and summary.json."""
        write_json(folder / "metrics.json", self.metrics)
        self.users.write_parquet(folder / "users.parquet")
        write_json(folder / "summary.json", {"schema": SCHEMA, **self.summary})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises FileNotFoundError when a file is missing."""
        path = folder / "summary.json"
        summary = read_json(path)
        check_schema(summary, SCHEMA, path)
        return cls(
            metrics=read_json(folder / "metrics.json"),
            users=pl.read_parquet(folder / "users.parquet"),
            summary=summary,
        )
