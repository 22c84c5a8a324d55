"""Files to cells of text, and cells to checked columns: every bad row is known by its line, none is
skipped silently.

A sheet is a frame of text columns as they stand in the file, with two columns of ours: LINE (where
the row begins: a line of a text file, a row of a Parquet file, both counted from 1) and PROBLEM
(null, or what is wrong with the row). Large files come as several sheets, one after another.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import polars as pl

from glta.io.streams import AGAIN

LINE, PROBLEM = "__line__", "__problem__"
PARQUET_ROWS = 1 << 20  # of a sheet


def missing(column: str) -> pl.Expr:
    """True where a text cell says nothing: null, blank, or the NaN that other programs write."""
    text = pl.col(column).str.strip_chars().str.to_lowercase()
    return text.is_null() | text.is_in(["", "nan"])


def mark(sheet: pl.DataFrame, bad: pl.Expr, problem: pl.Expr) -> pl.DataFrame:
    """Note a problem in the rows where `bad` holds; the first problem of a row stays."""
    return sheet.with_columns(pl.coalesce(PROBLEM, pl.when(bad).then(problem)).alias(PROBLEM))


class Sieve:
    """Let the good rows of a file's sheets pass, and count the bad ones."""

    def __init__(self, name: str, max_bad_share: float):
        """name: of the file. max_bad_share: of its rows, more are an error."""
        self.name, self.share, self.rows, self.bad = name, max_bad_share, 0, 0
        self.first: tuple[int, str] | None = None

    def sift(self, sheet: pl.DataFrame, rows: int | None = None) -> pl.DataFrame:
        """Return the good rows without our two columns.

        rows: how many were read, where some were left out before.
        """
        self.rows += sheet.height if rows is None else rows
        bad = sheet.filter(pl.col(PROBLEM).is_not_null())
        if bad.height:
            self.bad += bad.height
            self.first = self.first or bad.sort(LINE).select(LINE, PROBLEM).row(0)
            sheet = sheet.filter(pl.col(PROBLEM).is_null())
        return sheet.drop(LINE, PROBLEM)

    def check(self) -> None:
        """Raise ValueError that names the first bad line when more than the share of all rows are
        bad.
        """
        if self.bad > self.share * self.rows:
            where = "row" if self.name.endswith(".parquet") else "line"
            line, problem = self.first
            raise ValueError(
                f"{self.name} {where} {line}, {problem}; correct it, or drop such rows with a "
                "larger prepare.max_bad_share "
                f"(= {self.share}; {self.bad} of {self.rows} rows are bad)"
            )


def whole(sheets: Iterable[pl.DataFrame], name: str, max_bad_share: float) -> pl.DataFrame:
    """Return all good rows of a file's sheets. Raises ValueError as `Sieve.check`."""
    sieve = Sieve(name, max_bad_share)
    rows = pl.concat([sieve.sift(sheet) for sheet in sheets])
    sieve.check()
    return rows


def need_column(sheet: pl.DataFrame, name: str, column: str, fix: str) -> None:
    """Raise ValueError that names the file, the nearest column and the fix unless the column
    exists.
    """
    columns = [c for c in sheet.columns if c not in (LINE, PROBLEM)]
    if column not in columns:
        wanted = column.lower()

        def likeness(other: str) -> tuple[bool, float]:
            other = other.lower()
            return wanted in other or other in wanted, difflib.SequenceMatcher(
                None, wanted, other
            ).ratio()

        nearest = max(columns, key=likeness)
        raise ValueError(
            f"{name}: has no column {column}; nearest is {nearest} (found {', '.join(columns)}); "
            f"{fix}"
        )


def read_parquet(path: Path, kept: Collection[str] = ()) -> Iterator[pl.DataFrame]:
    """Read Parquet as sheets: numbers become their text (1.0 as 1), times milliseconds since 1970,
    lists stay lists.

    kept: columns that keep their type.
    """
    try:
        lazy = pl.scan_parquet(path)
        schema = lazy.collect_schema()
        height = lazy.select(pl.len()).collect().item()
        floats = [name for name, dtype in schema.items() if dtype.is_float()]
        column = pl.col(floats)
        # integers with gaps come from pandas as floats
        whole = (
            lazy.select(
                (column.is_null() | column.is_nan() | (column == column.floor())).all()
            ).collect()
            if floats
            else None
        )
        if not height:
            raise ValueError(f"{path.name}: has no rows; give a file with data")

        def text(name: str, dtype: pl.DataType) -> pl.Expr:
            column = pl.col(name)
            if name in kept:
                return column
            if isinstance(dtype, pl.List):
                return column.cast(pl.List(pl.String), strict=False)
            if dtype.is_temporal():
                return column.cast(pl.Datetime("ms")).cast(pl.Int64).cast(pl.String)
            if dtype.is_float() and whole[name][0]:
                return column.cast(pl.Int64, strict=False).cast(pl.String)
            return column.cast(pl.String, strict=False)

        texts = lazy.select(text(n, t).alias(n) for n, t in schema.items())
        for start in range(0, height, PARQUET_ROWS):
            yield _lined(texts.slice(start, PARQUET_ROWS).collect(), start + 1)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(
            f"{path.name}: is damaged or no Parquet file ({str(error).splitlines()[0]}); {AGAIN}"
        ) from None


def read_csv(
    lines: Iterable[tuple[int, bytes]],
    name: str,
    columns: list[str] | None = None,
    separator: str = ",",
    quote: str | None = '"',
    recode: Callable[[bytes], bytes] = bytes,
) -> Iterator[pl.DataFrame]:
    """Read blocks of UTF-8 lines with cells as sheets; columns: their names where the file has no
    header.

    recode: turns a block into UTF-8. Raises ValueError that names file and line when it cannot be
    cut into cells at all.
    """
    rows = 0
    for line, block in lines:
        content = recode(block)
        if content.isspace():
            continue
        if content.endswith((b"\n\n", b"\n\r\n")):
            content = content.rstrip(b"\r\n")
        sheet = _read_block(content, name, columns, separator, quote, line)
        columns, rows = sheet.columns[:-2], rows + sheet.height
        yield sheet
    if columns is None:
        raise ValueError(f"{name}: is empty; {AGAIN}, or give a file with data")
    if not rows:
        raise ValueError(f"{name}: has a header but no rows; give a file with data")


def _read_block(
    content: bytes,
    name: str,
    columns: list[str] | None,
    separator: str,
    quote: str | None,
    line: int,
) -> pl.DataFrame:
    first = line if columns else line + 1
    try:
        frame = pl.read_csv(
            content,
            has_header=columns is None,
            new_columns=columns,
            separator=separator,
            quote_char=quote,
            infer_schema=False,
        )
    except pl.exceptions.PolarsError:
        return _read_slowly(content, name, columns, separator, quote, line)
    lines = frame.height + first - line
    regular = content.count(b"\n") + (not content.endswith(b"\n")) == lines and frame.width == len(
        columns or frame.columns
    )
    if regular and quote is not None and quote.encode() in content:
        regular = frame[:, -1].null_count() == 0
    elif regular:
        regular = _equally_long(content, frame, separator, lines)
    regular = regular and not any(
        "_duplicated_" in column for column in frame.columns
    )  # Polars' name for a second one
    return (
        _lined(frame, first)
        if regular
        else _read_slowly(content, name, columns, separator, quote, line)
    )


def _equally_long(content: bytes, frame: pl.DataFrame, separator: str, lines: int) -> bool:
    """Tell whether each line (without quotes) has all its cells; Polars fills short and empty ones
    with nulls.
    """
    if content.count(separator.encode()) != (frame.width - 1) * lines:
        return False
    if not frame[:, -1].null_count():
        return True  # no line is short, so by their sum none is long
    whole = pl.read_csv(
        content,
        has_header=False,
        separator="\0",
        quote_char=None,
        infer_schema=False,
        new_columns=["line"],
    )
    return bool(
        (whole["line"].str.count_matches(separator, literal=True) == frame.width - 1)
        .fill_null(False)
        .all()
    )


def _lined(frame: pl.DataFrame, first: int) -> pl.DataFrame:
    problem = pl.lit(None, pl.String).alias(PROBLEM)
    return frame.with_columns(
        pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias(LINE), problem
    )


def _read_slowly(
    content: bytes,
    name: str,
    columns: list[str] | None,
    separator: str,
    quote: str | None,
    line: int,
) -> pl.DataFrame:
    """Read with Python's csv module, which knows the line of every row and its number of cells."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line += content.count(b"\n", 0, error.start)
        raise ValueError(
            f"{name} line {line}: byte {content[error.start]:#x} is not UTF-8; save the file as "
            "UTF-8"
        ) from None
    quoting = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, **quoting)
    csv.field_size_limit(2**31 - 1)
    rows, begin = [], line
    try:
        header = columns or next(reader)
        width, begin = len(header), line + reader.line_num
        for row in reader:
            if len(row) == width:
                rows.append((*(cell or None for cell in row), begin, None))
            elif row:  # an empty line holds no row
                rows.append((*[None] * width, begin, f"has {len(row)} cells instead of {width}"))
            begin = line + reader.line_num
    except csv.Error as error:
        raise ValueError(
            f"{name} line {begin}: cannot be cut into cells ({error}); check its quotes"
        ) from None
    if len(set(header)) < width:
        raise ValueError(f"{name} line 1: names a column twice; give each column its own name")
    return pl.DataFrame(
        rows,
        schema={**dict.fromkeys(header, pl.String), LINE: pl.Int64, PROBLEM: pl.String},
        orient="row",
    )
