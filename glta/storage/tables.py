"""Write tables as Parquet files that are whole or not there."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from glta.storage.files import write_whole


def write_table(path: Path | str, table: pl.DataFrame) -> None:
    """Write a Parquet file, whole or not at all, and make its folder.

    Raises OSError when the disk is full, for which polars itself has an error of its own.
    """
    content = io.BytesIO()
    table.write_parquet(content)
    write_whole(path, content.getvalue())
