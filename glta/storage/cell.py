"""The folders in which the results of a dataset and a seed lie."""

from __future__ import annotations

from pathlib import Path

DATA = Path("data")


def folder(dataset: str, *parts: str | int) -> Path:
    """Return the path DATA/dataset/part/..., such as data/ml-1m/0/prepare."""
    return DATA.joinpath(dataset, *map(str, parts))
