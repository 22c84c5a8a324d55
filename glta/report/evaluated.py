"""Gather what the stage `evaluate` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from glta.params.model import Params
from glta.storage.files import read_json


@dataclass(frozen=True)
class Evaluated:
    """One method on one split.

    users: as `glta.evaluation.measure.Evaluation.users`; summary: as `pipeline.stages.evaluate`
    writes it.
    """

    metrics: dict[str, float]
    users: pl.DataFrame
    summary: dict[str, Any]


Cells = dict[str, dict[str, dict[int, Evaluated]]]
"""By dataset, method and seed, in the order of the parameters; what was not evaluated is absent."""


def load_cells(folder: Path | str, params: Params) -> Cells:
    """Read evaluate/D/S/M for all datasets, seeds and methods of the parameters; folders that are
    not there are left out.
    """
    folder = Path(folder)

    def seeds_of(dataset: str, method: str) -> dict[int, Evaluated]:
        folders = {seed: folder / dataset / str(seed) / method for seed in params.seeds}
        return {
            seed: load_cell(path)
            for seed, path in folders.items()
            if (path / "metrics.json").exists()
        }

    return {
        dataset: {
            method: seeds for method in params.methods if (seeds := seeds_of(dataset, method))
        }
        for dataset in params.datasets
    }


def load_cell(folder: Path) -> Evaluated:
    """Read one folder. Raises FileNotFoundError when a file is missing."""
    users = pl.read_parquet(folder / "users.parquet")
    return Evaluated(read_json(folder / "metrics.json"), users, read_json(folder / "summary.json"))


def test_metrics(cells: Cells) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Nest the test metrics as {dataset: {method: {seed: {metric: value}}}}, the content of
    report/metrics.json.
    """
    return {
        dataset: {
            method: {
                str(seed): {
                    name: value
                    for name, value in cell.metrics.items()
                    if not name.startswith("valid/")
                }
                for seed, cell in seeds.items()
            }
            for method, seeds in methods.items()
        }
        for dataset, methods in cells.items()
    }
