"""Parquet files to sheets: each column as its role needs it, or refused in words."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal

import polars as pl

from glta.io.packed import REPLACE
from glta.io.sheets import LINE, convert, numbered
from glta.io.values import categories_of, text_of

Kind = Literal["id", "number", "time", "text", "categories"]
"""What a column holds, which tells how its types are read."""

PARQUET_ROWS = 1 << 20  # of one sheet
EXACT = 2**53  # from here on, a float does not hold every whole number
TEXTS = (pl.String, pl.Categorical, pl.Enum, pl.Null)
TIMES = (pl.Date, pl.Datetime)
LISTS = (pl.List, pl.Array)
NO_TEXT = (pl.Binary, pl.Time, pl.Duration, pl.Object, pl.Struct)
ACCEPTED: dict[Kind, str] = {
    "id": "text or whole numbers",
    "number": "text that holds numbers, or as numbers",
    "time": "text, numbers or dates",
    "text": "text, numbers or lists of text",
    "categories": "text, or as lists of text",
}
"""What to save a column as, by its kind."""


def read_parquet(
    path: Path,
    name: str,
    kinds: Mapping[str, Kind],
    *,
    kept: Collection[str] = (),
    separator: str = "|",
) -> Iterator[pl.DataFrame]:
    """Read a Parquet file as sheets.

    name: of the file, for errors. kinds: what each column to read holds. Whole numbers become text
    without a point, also where they are stored as floats; dates and times become times in UTC, or,
    as text, what ISO 8601 writes. The parts of a list are joined by spaces in text, and stay a list
    in categories, as in `categories_of`; a text stays a text there.
    kept: columns to read with the type that they have. The other columns are in the sheets, but
    empty, whatever their type is. separator: between categories in one text.

    A value that has no such form is marked in PROBLEM. A file without rows gives no sheet. Raises
    ValueError for a damaged file, and for a column to read whose type does not fit its kind.
    """
    # pandas writes times with a zone such as +05:30, which Polars reads with this variable only
    os.environ.setdefault("POLARS_IGNORE_TIMEZONE_PARSE_ERROR", "1")
    reading = False  # of cells, which come after the description of the columns
    try:
        lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        schema = lazy.collect_schema()
        height = lazy.select(pl.len()).collect().item()
        reading = True
        read = []
        later: dict[str, Callable] = {}  # what turns the values into those of cells, in Python
        for column, kind in kinds.items():
            if column not in schema or column in kept:
                continue
            dtype = schema[column]
            if kind == "id":
                _refuse_inexact_ids(lazy, name, column, dtype)
            text = _cells(pl.col(column), dtype, kind)
            if text is None and _has_values(dtype, kind):
                text = pl.col(column)
                later[column] = (
                    text_of if kind == "text" else lambda value: categories_of(value, separator)
                )
            if text is None:
                raise ValueError(
                    f"{name}: column {column} is of type {dtype}; save it as {ACCEPTED[kind]}"
                )
            read.append(text.alias(column))
        read += [_kept(column, schema[column]) for column in kept if column in schema]
        frames = lazy.select(*read, pl.lit(0).alias(LINE))  # something, where no column is there
        for start in range(0, height, PARQUET_ROWS):
            sheet = numbered(frames.slice(start, PARQUET_ROWS).collect(), start + 1)
            for column, function in later.items():
                dtype = pl.String() if function is text_of else pl.List(pl.String)
                sheet = convert(sheet, column, function, dtype)
            others = [column for column in schema if column not in sheet.columns]
            yield sheet.with_columns(pl.lit(None, pl.String).alias(other) for other in others)
    except pl.exceptions.DuplicateError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{name}: {reason}; give each column its own name") from None
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        OSError,
        RuntimeError,
    ) as error:
        reason = str(error).splitlines()[0]
        if reading:
            raise ValueError(
                f"{name}: a cell of {', '.join(kinds)} cannot be read ({reason}); save these "
                f"columns as text or numbers or, where the file is damaged, {REPLACE}"
            ) from None
        raise ValueError(f"{name}: is damaged or no Parquet file ({reason}); {REPLACE}") from None


def _kept(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column with its type; times of a zone without a name are in UTC."""
    if isinstance(dtype, pl.Datetime) and (dtype.time_zone or "").startswith(("+", "-")):
        return pl.col(column).cast(pl.Datetime(dtype.time_unit, "UTC"))
    return pl.col(column)


def _cells(column: pl.Expr, dtype: pl.DataType, kind: Kind) -> pl.Expr | None:
    """Return the expression of a column's cells; None where a type has none."""
    if dtype in TEXTS:
        return column.cast(pl.String)
    if dtype.is_integer():
        return column.cast(pl.String)
    if dtype.is_float():
        # pandas writes whole numbers with gaps as floats
        is_whole = column.is_finite() & (column == column.floor()) & (column.abs() < EXACT)
        whole = column.cast(pl.Int64, strict=False).cast(pl.String)
        return pl.when(is_whole).then(whole).when(column.is_not_nan()).then(column.cast(pl.String))
    if dtype.is_decimal():
        return column.cast(pl.String).str.replace(r"(\.\d*?)0+$", "${1}").str.strip_suffix(".")
    if dtype in TIMES and kind == "time":
        return column if isinstance(dtype, pl.Datetime) else column.cast(pl.Datetime("ms"))
    if isinstance(dtype, pl.List) and kind == "categories" and dtype.inner in TEXTS:
        return column.cast(pl.List(pl.String))
    if dtype == pl.Boolean and kind == "text":
        return column.cast(pl.String)
    return None


def _has_values(dtype: pl.DataType, kind: Kind) -> bool:
    """Tell whether Python's values of a type are turned into cells, each with its own problem."""
    if kind not in ("text", "categories"):
        return False
    if isinstance(dtype, LISTS):
        return _has_values(dtype.inner, kind)  # type: ignore[arg-type]
    if dtype == pl.Struct:
        return kind == "categories"
    return dtype in (*TEXTS, *TIMES) or dtype.is_numeric() or dtype == pl.Boolean


def _refuse_inexact_ids(lazy: pl.LazyFrame, name: str, column: str, dtype: pl.DataType) -> None:
    """Raise ValueError for ids that are fractions, or floats too large to tell all ids apart."""
    if not (dtype.is_float() or dtype.is_decimal()):
        return
    value = pl.col(column)
    is_exact = value == value.floor()
    if dtype.is_float():
        is_exact = value.is_nan() | (value.is_finite() & is_exact & (value.abs() < EXACT))
    wrong = lazy.select(value).with_row_index(LINE, 1).filter(~is_exact).head(1).collect()
    if wrong.height:
        row, found = wrong.row(0)
        raise ValueError(
            f"{name} row {row}, column {column} = {found}: ids of type {dtype} may have lost "
            f"digits; save them as {ACCEPTED['id']}"
        )
