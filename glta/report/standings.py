"""List the evaluated methods by the report's metric, for the terminal."""

from __future__ import annotations

from typing import Any

from glta.report.known import is_ablation
from glta.report.wording import metric_title
from glta.storage.cell import folder
from glta.storage.files import read_json

METRICS = folder("report", "metrics.json")


def standings(metric: str) -> list[dict[str, Any]]:
    """Return {"method", dataset: mean over seeds, ...} for each method, the highest first.

    They are read from data/report/metrics.json. Ablations are left out. None stands where a method
    was not evaluated. With several datasets, the order is that of the mean over datasets. Raises
    ValueError where there is no report, or not one with this metric.
    """
    if not METRICS.is_file():
        raise ValueError(f"{METRICS}: no such file; `snakemake --cores all` makes it")
    try:
        found = _means(read_json(METRICS), metric)
    except (AttributeError, KeyError, TypeError):
        raise ValueError(
            f"{METRICS}: has no {metric} of each dataset, method and seed; `snakemake --cores all "
            "--forcerun report` makes it again"
        ) from None
    methods = {method: None for means in found.values() for method in means}
    rows = [
        {"method": method, **{dataset: means.get(method) for dataset, means in found.items()}}
        for method in methods
    ]
    return sorted(rows, key=lambda row: -sum(row[dataset] or 0.0 for dataset in found))


def _means(content: Any, metric: str) -> dict[str, dict[str, float]]:
    """Return the mean over seeds, by dataset and method."""
    return {
        dataset: {
            method: sum(values[metric] for values in seeds.values()) / len(seeds)
            for method, seeds in methods.items()
            if not is_ablation(method)
        }
        for dataset, methods in content.items()
    }


def standings_text(metric: str) -> str:
    """Write the standings as a table. The highest value of each dataset has a star."""
    rows = standings(metric)
    datasets = [key for key in rows[0] if key != "method"] if rows else []
    best = {name: max(row[name] for row in rows if row[name] is not None) for name in datasets}

    def cell(row: dict[str, Any], dataset: str) -> str:
        value = row[dataset]
        return "- " if value is None else f"{value:.4f}{'*' if value == best[dataset] else ' '}"

    width = max((len(row["method"]) for row in rows), default=0)
    lines = [[f"{'method':{width}}", *(f"{name} " for name in datasets)]]
    lines += [[f"{row['method']:{width}}", *(cell(row, name) for name in datasets)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(map(str.rjust, line, widths)).rstrip() for line in lines]
    return "\n".join([f"Test {metric_title(metric)}, mean over seeds, * is the highest:", *table])
