"""The results of all methods, seeds and datasets that the report shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import fmean

from glta.evaluation.evaluated import Evaluated
from glta.params.model import Params
from glta.report.known import title

Cells = dict[str, dict[str, dict[int, Evaluated]]]
"""Results by dataset, method and seed, in the order of the parameters.

What was not evaluated is absent. One cell is one method with one seed on one dataset.
"""


def load_cells(
    folder: Path | str, params: Params, *, methods: Collection[str] | None = None
) -> Cells:
    """Read all results that the parameters name.

    folder: contains DATASET/SEED/METHOD. Folders that do not exist are left out. methods: those to
    read; None: all. Raises ValueError when two results of a dataset and seed are of different
    splits: users have other numbers then, or other test pairs.
    """
    folder = Path(folder)
    cells: Cells = {}
    for dataset in params.datasets:
        cells[dataset] = {}
        for method in params.methods:
            if methods is not None and method not in methods:
                continue
            paths = {seed: folder / dataset / str(seed) / method for seed in params.seeds}
            seeds = {
                seed: Evaluated.load(path)
                for seed, path in paths.items()
                if (path / "metrics.json").exists()
            }
            if seeds:
                cells[dataset][method] = seeds
        for seed in params.seeds:
            found = {m: seeds[seed] for m, seeds in cells[dataset].items() if seed in seeds}
            _refuse_different_splits(folder / dataset / str(seed), found)
    return cells


def _refuse_different_splits(folder: Path, cells: Mapping[str, Evaluated]) -> None:
    """Raise ValueError unless all results of a dataset and seed are of one split.

    folder: of the results, for the message. cells: by method.
    """
    by_split: dict[str, list[str]] = {}
    for method, cell in cells.items():
        by_split.setdefault(cell.summary["prepared"], []).append(method)
    if len(by_split) > 1:
        groups = " | ".join(", ".join(methods) for methods in by_split.values())
        raise ValueError(
            f"{folder}: has methods that were evaluated on different splits ({groups}), which "
            "cannot be compared; `snakemake --cores all` or `dvc repro` evaluates the older ones "
            "again"
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


def summary(cells: Cells, metric: str) -> dict[str, dict[str, dict[str, float]]]:
    """Collect one number a method, the content of report/summary.json.

    It is the mean over the seeds, as in the report. Returns {metric: {dataset: {method: value}}};
    methods that have no such value are left out.
    """

    def of_method(seeds: dict[int, Evaluated]) -> list[float]:
        return [cell.metrics[metric] for cell in seeds.values() if metric in cell.metrics]

    by_dataset = {
        dataset: {
            method: fmean(values)
            for method, seeds in methods.items()
            if (values := of_method(seeds))
        }
        for dataset, methods in cells.items()
    }
    return {metric: by_dataset}


def ranking(cells: Cells, metric: str) -> list[dict[str, str | float]]:
    """Collect the same numbers as rows, the content of report/ranking.json, best first."""
    return [
        {"method": title(method) if len(cells) == 1 else f"{title(method)}, {dataset}", "value": v}
        for dataset, values in summary(cells, metric)[metric].items()
        for method, v in sorted(values.items(), key=lambda pair: -pair[1])
    ]
