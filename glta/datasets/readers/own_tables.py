"""The user's own data, and the sample: CSV, JSON lines or Parquet, with columns of any name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset, table_files
from glta.datasets.settings import TableSettings
from glta.io.json_lines import decoded, parse_json, read_records
from glta.io.raw import Columns, Raw, check_interactions, check_items, column_fix, join_items
from glta.io.sheets import read_csv, read_parquet
from glta.io.streams import blocks

JSON_ENDINGS = (".jsonl", ".ndjson", ".json")


def read_own_tables(folder: Path, dataset: str, max_bad_share: float, table: TableSettings) -> Raw:
    """Read the downloaded files of an entry of `tables` in params.yaml.

    Raises ValueError that names file, line, column and the parameter to change.
    """
    names = table_files(table.interactions, table.items)
    parameter = f"tables.{dataset}"
    name = names["interactions"]
    columns: Columns = {
        "user": table.user,
        "item": table.item,
        "rating": table.rating,
        "timestamp": table.timestamp,
        "part": table.part,
    }
    interactions = check_interactions(
        read_sheets(folder / name, columns, parameter),
        name,
        max_bad_share=max_bad_share,
        columns=columns,
        parameter=parameter,
    )
    if "items" not in names:
        return join_items(interactions, None, name, parameter=parameter)
    name = names["items"]
    columns = item_columns(table)
    items = check_items(
        read_sheets(
            folder / name,
            columns,
            parameter,
            separator=table.category_separator,
            kept=table.features,
        ),
        name,
        max_bad_share=max_bad_share,
        columns=columns,
        parameter=parameter,
        separator=table.category_separator,
        features=table.features,
    )
    if _is_json(folder / name):
        fix = column_fix(parameter, "features")
        items = replace(items, rows=decoded(items.rows, name, table.features, fix=fix))
    return join_items(interactions, items, name, parameter=parameter)


def read_sample(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the generated dataset, whose files have the default columns."""
    table = TableSettings(interactions="interactions.csv.gz", items="items.csv.gz")
    return read_own_tables(folder, dataset.name, max_bad_share, table)


def item_columns(table: TableSettings) -> dict[str, str | None]:
    """Return the names of the columns of the items' file, by their role."""
    return {
        "item": table.item,
        "title": table.title,
        "description": table.description,
        "categories": table.categories,
    }


def read_sheets(
    path: Path,
    columns: Columns,
    parameter: str,
    *,
    separator: str = "|",
    kept: Sequence[str] = (),
) -> Iterator[pl.DataFrame]:
    """Read one file as sheets, in the format that its ending tells.

    .parquet is Parquet; .jsonl, .ndjson and .json hold one object a line; all else is CSV. The last
    two may end with .gz. columns: names of the columns to read, by their role. parameter: the entry
    of params.yaml that names them, for errors. separator: between categories in one text.
    kept: further columns to read. They have their type in Parquet, are text in CSV, and are JSON as
    text in JSON lines.
    """
    if path.suffix == ".parquet":
        named = [column for column in columns.values() if column]
        return read_parquet(path, named, kept=kept)
    if _is_json(path):
        return _read_json_lines(path, columns, parameter, separator=separator, kept=kept)
    return read_csv(blocks(path, quote=b'"'), path.name)


def _is_json(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(JSON_ENDINGS)


def _read_json_lines(
    path: Path, columns: Columns, parameter: str, *, separator: str, kept: Sequence[str]
) -> Iterator[pl.DataFrame]:
    ids: list[str] = []
    texts: list[str] = []
    lists: list[str] = []
    fixes = dict.fromkeys(kept, column_fix(parameter, "features"))
    for role, column in columns.items():
        if column is None:
            continue
        is_id = role in ("user", "item")
        group = ids if is_id else lists if role == "categories" else texts
        group.append(column)
        fixes[column] = column_fix(parameter, role, optional=not is_id)
    sheets = read_records(
        blocks(path),
        path.name,
        parse_json,
        ids=ids,
        texts=texts,
        lists=lists,
        kept=kept,
        fixes=fixes,
    )
    # categories may be a list or, as in CSV, one text
    categories = [
        pl.when(pl.col(column).list.len() == 1)
        .then(pl.col(column).list.first().str.split(separator))
        .otherwise(column)
        for column in lists
    ]
    return (sheet.with_columns(categories) for sheet in sheets)
