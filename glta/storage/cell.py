"""Where the results of one dataset and seed lie."""

from __future__ import annotations

from pathlib import Path

DATA = Path("data")


def folder(dataset: str, *parts: str | int) -> Path:
    """Return data/<dataset>/<part>/..."""
    return DATA.joinpath(dataset, *map(str, parts))
