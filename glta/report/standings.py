"""List the evaluated methods by the report's metric, for the terminal."""

from __future__ import annotations

from itertools import chain
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
    return _rows(_values(metric))


Values = dict[str, dict[str, dict[str, float]]]
"""By dataset, method and seed."""


def _values(metric: str) -> Values:
    """Read the values of a metric, without ablations. Raises ValueError as `standings` does."""
    if not METRICS.is_file():
        raise ValueError(f"{METRICS}: no such file; `snakemake --cores all` makes it")
    try:
        return {
            dataset: {
                method: {seed: values[metric] for seed, values in seeds.items()}
                for method, seeds in methods.items()
                if not is_ablation(method)
            }
            for dataset, methods in read_json(METRICS).items()
        }
    except (AttributeError, KeyError, TypeError):
        raise ValueError(
            f"{METRICS}: has no {metric} of each dataset, method and seed; `snakemake --cores all "
            "--forcerun report` makes it again"
        ) from None


def _rows(values: Values) -> list[dict[str, Any]]:
    """Return the rows of `standings`."""
    means = {
        dataset: {method: sum(of.values()) / len(of) for method, of in methods.items()}
        for dataset, methods in values.items()
    }
    names = {method: None for methods in values.values() for method in methods}
    rows = [
        {"method": name, **{dataset: of.get(name) for dataset, of in means.items()}}
        for name in names
    ]
    return sorted(rows, key=lambda row: -sum(row[dataset] or 0.0 for dataset in means))


def standings_text(metric: str) -> str:
    """Write the standings as a table. The highest value of each dataset has a star.

    Where the methods of a dataset have different seeds, none has one, and a value over fewer seeds
    says over how many.
    """
    values = _values(metric)
    rows = _rows(values)
    datasets = [*values] if rows else []
    best = {name: max(row[name] for row in rows if row[name] is not None) for name in datasets}
    every = {name: {*chain(*methods.values())} for name, methods in values.items()}
    uneven = [n for n in datasets if any(of.keys() != every[n] for of in values[n].values())]

    def cell(row: dict[str, Any], dataset: str) -> str:
        value = row[dataset]
        if value is None:
            return "- "
        count, whole = len(values[dataset][row["method"]]), len(every[dataset])
        if count < whole:
            return f"{value:.4f} ({count} of {whole} seeds) "
        is_best = value == best[dataset] and dataset not in uneven
        return f"{value:.4f}{'*' if is_best else ' '}"

    width = max((len(row["method"]) for row in rows), default=0)
    lines = [[f"{'method':{width}}", *(f"{name} " for name in datasets)]]
    lines += [[f"{row['method']:{width}}", *(cell(row, name) for name in datasets)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(map(str.rjust, line, widths)).rstrip() for line in lines]
    star = "* is the highest" + (", none where methods have different seeds" if uneven else "")
    return "\n".join([f"Test {metric_title(metric)}, mean over seeds, {star}:", *table])
