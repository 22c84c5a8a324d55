"""The user's own data, and the sample: CSV, JSON or Parquet, with columns of any name."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from glta.datasets.catalogue import Dataset, parts_of, table_files
from glta.datasets.settings import TableSettings
from glta.io.json_lines import Convert, decoded, lines_of_array, parse_lenient, read_records
from glta.io.own_csv import is_token_list, read_own_csv
from glta.io.packed import PARQUET, REPLACE, Peek, opener_of, peek
from glta.io.parquet import Kind, read_parquet
from glta.io.raw import (
    Columns,
    Raw,
    check_interactions,
    check_items,
    column_fix,
    column_fixes,
    join_items,
)
from glta.io.sheets import LINE, convert, is_blank, need_columns
from glta.io.streams import NoRows, blocks
from glta.io.values import categories_of, number_of, text_of, time_of

JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
PARQUET_ENDINGS = (".parquet", ".parq", ".pq")
JSON_BEGIN = re.compile(rb'\s*(\[\s*)?\{\s*["}]')
LIST_BEGIN = re.compile(rb"\s*\[")
KINDS: dict[str, Kind] = {
    "user": "id",
    "item": "id",
    "rating": "number",
    "timestamp": "time",
    "part": "text",
    "title": "text",
    "description": "text",
    "categories": "categories",
}
"""What the column of each role holds."""


def read_own_tables(folder: Path, dataset: str, max_bad_share: float, table: TableSettings) -> Raw:
    """Read the downloaded files of an entry of `tables` in params.yaml.

    Raises ValueError that names file, line, column and the parameter to change.
    """
    names = table_files(table.interactions, table.items)
    parameter = f"tables.{dataset}"
    path = folder / names["interactions"]
    name = table.interactions
    columns: Columns = {
        "user": table.user,
        "item": table.item,
        "rating": table.rating,
        "timestamp": table.timestamp,
        "part": table.part,
    }
    file = TableFile(path, name, parameter, table)
    interactions = check_interactions(
        file.sheets(columns),
        name,
        max_bad_share=max_bad_share,
        columns=columns,
        parameter=parameter,
        null_words=table.null_words,
        place=file.place,
    )
    if table.items is None:
        return join_items(interactions, None, name, parameter=parameter)
    path = folder / names["items"]
    name = table.items
    columns = item_columns(table)
    file = TableFile(path, name, parameter, table, key="items_")
    items = check_items(
        file.sheets(columns, kept=table.features),
        name,
        max_bad_share=max_bad_share,
        columns=columns,
        parameter=parameter,
        separator=table.category_separator,
        features=table.features,
        null_words=table.null_words,
        place=file.place,
    )
    if file.has_json:
        fix = column_fix(parameter, "features")
        items = replace(items, rows=decoded(items.rows, name, table.features, fix=fix))
    return join_items(interactions, items, name, parameter=parameter, log=table.interactions)


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


class TableFile:
    """Read one file of the user, or a folder of such files with the same columns, as sheets.

    path: of the file or folder. name: as the user writes it, for errors. parameter: the entry of
    params.yaml that names its columns. table: that entry. key: what the file's own keys in the
    entry begin with. advice: what to do when a column is missing; None: to set its name in the
    entry.

    The form of a file is told by its ending and by how it begins: Parquet, JSON (one object a line,
    or one list of objects), or CSV. The last two may be packed (`glta.io.packed`).
    """

    def __init__(
        self,
        path: Path,
        name: str,
        parameter: str,
        table: TableSettings,
        *,
        key: str = "",
        advice: str | None = None,
    ):
        self.path = path
        self.name = name
        self.parameter = parameter
        self.table = table
        self.key = key
        self.advice = advice
        self.has_json = False  # whether a part that was read is JSON
        self._starts: list[tuple[int, str]] = []  # where LINE goes on with which part

    def sheets(
        self,
        columns: Columns,
        *,
        kept: Sequence[str] = (),
        needed: Collection[str] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Yield the rows as sheets.

        columns: names of the columns to read, by their role. kept: further columns to read. They
        have their type in Parquet, are text in CSV, and are JSON as text in JSON.
        needed: the roles whose columns must be there; None: all.
        A part of a folder may be without rows, as long as another part has some. Raises ValueError
        for what cannot be read, and for a file or a folder without rows.
        """
        offset = 0  # of the numbers of rows or lines, by the parts before
        is_empty = True
        must = {r: c for r, c in columns.items() if needed is None or r in needed}
        for part in parts_of(self.path):
            last = 0
            name = self.name
            words = "row" if part.suffix in PARQUET_ENDINGS else "line"
            if part != self.path:
                inner = part.relative_to(self.path).as_posix()
                name = f"{self.name.rstrip('/')}/{inner}"
                words = f"(part {inner}) {words}"
            self._starts.append((offset, words))
            try:
                sheets = self._part(part, name, columns, kept, [*filter(None, must.values())])
                for sheet in sheets:
                    need_columns(sheet, name, self._fixes(must, kept))
                    last = sheet[LINE].max() or 0  # type: ignore[assignment]  # integers
                    is_empty = is_empty and not sheet.height
                    yield sheet.with_columns(pl.col(LINE) + offset)
            except NoRows:
                if part == self.path:
                    raise
            offset += last
        if is_empty:
            raise ValueError(f"{self.name}: has no rows; give a file with data")

    def place(self, line: int) -> str:
        """Write a value of LINE, which goes on from part to part, as line or row of its part.

        In a list of JSON it is the number of the record.
        """
        start, words = next(found for found in reversed(self._starts) if found[0] < line)
        return f"{words} {line - start}"

    def _fixes(self, columns: Columns, kept: Sequence[str]) -> dict[str, str]:
        """Say what to do about each column that is missing."""
        if self.advice is None:
            return column_fixes(columns, self.parameter, kept)
        return dict.fromkeys([*filter(None, columns.values()), *kept], self.advice)

    def _part(
        self, path: Path, name: str, columns: Columns, kept: Sequence[str], needed: Sequence[str]
    ) -> Iterator[pl.DataFrame]:
        """Return the sheets of one file. name: of the file, for errors. needed: see `_json`."""
        categories = columns.get("categories")
        separator = self.table.category_separator
        begin = peek(path, name)
        if begin.head.startswith(PARQUET):
            if begin.is_packed:
                raise ValueError(f"{name}: holds a Parquet file; unpack it, and name that file")
            sheets = self._parquet(path, name, columns, kept)
        elif path.suffix in PARQUET_ENDINGS:
            raise ValueError(
                f"{name}: is damaged or no Parquet file (it does not begin with PAR1); "
                f"{REPLACE}, or give it the ending of what it is, such as .csv or .jsonl"
            )
        elif _is_json(begin):
            self.has_json = True
            return self._json(path, name, columns, kept, needed)
        else:
            lines = partial(blocks, path, name=name, opener=opener_of(name), again=REPLACE)
            if categories and is_token_list(lines(), categories) and separator == "|":
                separator = " "  # as RecBole writes lists
            sheets = self._csv(lines, name, columns, kept)
        if categories is None or self._roles(columns, categories) != ["categories"]:
            return sheets
        return (self._listed(sheet, categories, separator) for sheet in sheets)

    def _csv(
        self, lines: Callable[..., Any], name: str, columns: Columns, kept: Sequence[str]
    ) -> Iterator[pl.DataFrame]:
        table = self.table
        is_items = bool(self.key)
        return read_own_csv(
            lines(quote=b'"' if table.quotes else b""),
            name,
            [*filter(None, columns.values()), *kept],
            self.parameter,
            separator=table.items_separator if is_items else table.separator,
            header=table.items_header if is_items else table.header,
            quotes=table.quotes,
            key=self.key,
        )

    def _parquet(
        self, path: Path, name: str, columns: Columns, kept: Sequence[str]
    ) -> Iterator[pl.DataFrame]:
        kinds = {column: self._kind(columns, column) for column in columns.values() if column}
        separator = self.table.category_separator
        return read_parquet(path, name, kinds, kept=kept, separator=separator)

    def _json(
        self, path: Path, name: str, columns: Columns, kept: Sequence[str], needed: Sequence[str]
    ) -> Iterator[pl.DataFrame]:
        """Return the sheets of JSON. needed: columns without which it is refused, beside `kept`."""
        text = pl.String()
        converted: dict[str, tuple[Convert, pl.DataType]] = {}
        forms: dict[Kind, tuple[Convert, pl.DataType]] = {
            "number": (number_of, text),
            "time": (time_of, text),
            "text": (text_of, text),
            "categories": (self._categories, pl.List(pl.String)),
        }
        ids = []
        for column in dict.fromkeys(filter(None, columns.values())):
            if column in kept:
                continue
            kind = self._kind(columns, column)
            if kind == "id":
                ids.append(column)
            else:
                converted[column] = forms[kind]
        lines: Iterator[tuple[int, bytes]] = blocks(
            path, name=name, opener=opener_of(name), again=REPLACE
        )
        first = next(block for block in chain(lines, [(1, b"")]) if not block[1].isspace())
        if LIST_BEGIN.match(first[1]):
            start, words = self._starts[-1]
            self._starts[-1] = (start, words.replace("line", "record"))
            content = b"".join([first[1], *(block for _, block in lines)])
            lines = lines_of_array(content, name)
        else:
            lines = chain([first], lines)
        return read_records(
            lines,
            name,
            parse_lenient,
            ids=ids,
            kept=kept,
            converted=converted,
            fixes=self._fixes(columns, kept),
            again=REPLACE,
            needed=[*needed, *kept],
        )

    def _roles(self, columns: Columns, column: str) -> list[str]:
        return [role for role, other in columns.items() if other == column]

    def _kind(self, columns: Columns, column: str) -> Kind:
        """Return what a column holds; an id may serve as a text too."""
        roles = self._roles(columns, column)
        kinds = {KINDS[role] for role in roles}
        if len(kinds) == 1 or kinds == {"id", "text"}:
            return KINDS[roles[0]] if len(kinds) == 1 else "id"
        raise ValueError(
            f"{self.parameter}: names column {column} for {' and '.join(roles)}; a column of JSON "
            "or Parquet can be one of these"
        )

    def _categories(self, value: Any) -> list[str]:
        """Return the categories of a value of JSON."""
        if value is None or (isinstance(value, str) and value.strip() in self.table.null_words):
            return []
        return categories_of(value, self.table.category_separator)

    def _listed(self, sheet: pl.DataFrame, column: str, separator: str) -> pl.DataFrame:
        """Return a sheet with the texts of a column cut into lists of categories."""
        if column not in sheet.columns or sheet.schema[column] != pl.String:
            return sheet
        is_null = is_blank(column, self.table.null_words)
        sheet = sheet.with_columns(pl.when(~is_null).then(pl.col(column).str.strip_chars()))
        if sheet[column].str.contains(r"^[\[{]").any():
            function = partial(categories_of, separator=separator)
            return convert(sheet, column, function, pl.List(pl.String))
        return sheet.with_columns(pl.col(column).str.split(separator))


def _is_json(begin: Peek) -> bool:
    """Tell JSON by the ending of a file's name, or by how the file begins."""
    if begin.name.lower().endswith(JSON_ENDINGS):
        return True
    return JSON_BEGIN.match(begin.head.removeprefix(b"\xef\xbb\xbf")) is not None
