"""Read what the stage `evaluate` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from glta.params.model import Params
from glta.storage.files import read_json


@dataclass(frozen=True)
class Evaluated:
    """Hold the results of one method on one split.

    metrics: values by name. users: as `glta.evaluation.measure.Measurement.users`. summary: the
    content of summary.json, which `pipeline.stages.evaluate` writes.
    """

    metrics: dict[str, float]
    users: pl.DataFrame
    summary: dict[str, Any]


Cells = dict[str, dict[str, dict[int, Evaluated]]]
"""Results by dataset, method and seed, in the order of the parameters.

What was not evaluated is absent. One cell is one method with one seed on one dataset.
"""


def load_cells(folder: Path | str, params: Params) -> Cells:
    """Read all results that the parameters name.

    folder: contains DATASET/SEED/METHOD. Folders that do not exist are left out.
    """
    folder = Path(folder)
    cells: Cells = {}
    for dataset in params.datasets:
        cells[dataset] = {}
        for method in params.methods:
            paths = {seed: folder / dataset / str(seed) / method for seed in params.seeds}
            seeds = {
                seed: load_cell(path)
                for seed, path in paths.items()
                if (path / "metrics.json").exists()
            }
            if seeds:
                cells[dataset][method] = seeds
    return cells


def load_cell(folder: Path) -> Evaluated:
    """Read the results of one method on one split.

    Raises FileNotFoundError when a file is missing.
    """
    return Evaluated(
        metrics=read_json(folder / "metrics.json"),
        users=pl.read_parquet(folder / "users.parquet"),
        summary=read_json(folder / "summary.json"),
    )


def metrics_on_test(cells: Cells) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Collect the test metrics, the content of report/metrics.json.

    Returns {dataset: {method: {seed: {metric: value}}}}.
    """

    def of_cell(cell: Evaluated) -> dict[str, float]:
        return {
            name: value for name, value in cell.metrics.items() if not name.startswith("valid/")
        }

    return {
        dataset: {
            method: {str(seed): of_cell(cell) for seed, cell in seeds.items()}
            for method, seeds in methods.items()
        }
        for dataset, methods in cells.items()
    }
