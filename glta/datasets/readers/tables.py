"""The user's own data, and the sample: CSV, JSON lines (both also as .gz) or Parquet, with columns
that `tables` names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset, table_files
from glta.datasets.settings import TableSettings
from glta.io.cells import read_csv, read_parquet
from glta.io.raw import Columns, Raw, fix_of, interactions_of, items_of, join
from glta.io.records import decoded, parse_json, read_records
from glta.io.streams import blocks

JSON = (".jsonl", ".ndjson", ".json")


def read(folder: Path, dataset: str, max_bad_share: float, table: TableSettings) -> Raw:
    """Read the files of a table.

    Raises ValueError that names file, line, column and the parameter to change.
    """
    names, key = table_files(table.interactions, table.items), f"tables.{dataset}"
    given = {role: getattr(table, role) for role in ("user", "item", "rating", "timestamp", "part")}
    sheets = read_sheets(folder / names["interactions"], given, key)
    interactions = interactions_of(sheets, names["interactions"], max_bad_share, given, key)
    if "items" not in names:
        return join(interactions, None, names["interactions"], key)
    given = {role: getattr(table, role) for role in ("item", "title", "description", "categories")}
    path, separator, features = folder / names["items"], table.category_separator, table.features
    sheets = read_sheets(path, given, key, separator, features)
    items = items_of(sheets, path.name, max_bad_share, given, key, separator, features=features)
    if _is_json(path):
        kept = decoded(items.items, path.name, features, fix_of(key, "features"))
        items = replace(items, items=kept)
    return join(interactions, items, names["items"], key)


def read_sample(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the generated dataset, whose files have the default columns."""
    return read(
        folder,
        dataset.name,
        max_bad_share,
        TableSettings(interactions="interactions.csv.gz", items="items.csv.gz"),
    )


def read_sheets(
    path: Path, columns: Columns, key: str, separator: str = "|", kept: Sequence[str] = ()
) -> Iterator[pl.DataFrame]:
    """Read one file by its ending: .parquet, .jsonl, .ndjson or .json (one object a line), else
    CSV; the last two also .gz.

    kept: further columns, which keep their type in Parquet, are text in CSV, and JSON text in JSON.
    """
    if path.suffix == ".parquet":
        return read_parquet(path, kept)
    if not _is_json(path):
        return read_csv(blocks(path, quote=b'"'), path.name)
    ids = [columns[role] for role in ("user", "item") if role in columns]
    texts = [
        columns[role]
        for role in ("rating", "timestamp", "part", "title", "description")
        if columns.get(role)
    ]
    lists = [columns["categories"]] if columns.get("categories") else []
    fixes = {name: fix_of(key, role, optional=name not in ids) for role, name in columns.items()}
    fixes |= dict.fromkeys(kept, fix_of(key, "features"))
    sheets = read_records(blocks(path), path.name, parse_json, ids, texts, lists, fixes, kept)
    # categories may be written as a list or, as in CSV, as one text
    cut = [
        pl.when(pl.col(c).list.len() == 1)
        .then(pl.col(c).list.first().str.split(separator))
        .otherwise(c)
        for c in lists
    ]
    return (sheet.with_columns(cut) for sheet in sheets)


def _is_json(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(JSON)
