"""Files to sheets: frames of text cells in which every row knows its line and its problem.

A sheet has the columns of the file, as text, and two more columns. LINE tells where the row begins:
the line of a text file, or the row of a Parquet file, both counted from 1. PROBLEM is null, or says
what is wrong with the row. A large file gives several sheets, one after another.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from glta.io.streams import DOWNLOAD_AGAIN
from glta.nearest import near

LINE = "__line__"
PROBLEM = "__problem__"
PARQUET_ROWS = 1 << 20  # of one sheet
UNREADABLE = (pl.Binary, pl.Time, pl.Duration, pl.Object)  # types of Parquet without a text


def is_blank(column: str) -> pl.Expr:
    """Tell which cells say nothing: null, blank, or the NaN that other programs write."""
    text = pl.col(column).str.strip_chars().str.to_lowercase()
    return text.is_null() | text.is_in(["", "nan"])


def mark(sheet: pl.DataFrame, bad: pl.Expr, problem: pl.Expr) -> pl.DataFrame:
    """Write a problem into the rows where `bad` holds; the first problem of a row stays."""
    return sheet.with_columns(pl.coalesce(PROBLEM, pl.when(bad).then(problem)).alias(PROBLEM))


class BadRows:
    """Take the bad rows out of the sheets of one file, and count them.

    name: of the file, for errors. max_bad_share: a larger share of bad rows is an error (`check`).
    """

    def __init__(self, name: str, max_bad_share: float):
        self.name = name
        self.max_bad_share = max_bad_share
        self.num_rows = 0
        self.num_bad = 0
        self.first: tuple[int, str] | None = None  # line and problem

    def drop(self, sheet: pl.DataFrame, num_rows: int | None = None) -> pl.DataFrame:
        """Return the good rows of a sheet, without LINE and PROBLEM.

        num_rows: how many rows the file had here, where the caller has left out some already.
        """
        self.num_rows += sheet.height if num_rows is None else num_rows
        bad = sheet.filter(pl.col(PROBLEM).is_not_null())
        if bad.height:
            self.num_bad += bad.height
            if self.first is None:
                line, problem = bad.sort(LINE).select(LINE, PROBLEM).row(0)
                self.first = line, problem
            sheet = sheet.filter(pl.col(PROBLEM).is_null())
        return sheet.drop(LINE, PROBLEM)

    def check(self) -> None:
        """Raise ValueError that names the first bad line when too many rows were bad."""
        if self.first is None or self.num_bad <= self.max_bad_share * self.num_rows:
            return
        where = "row" if self.name.endswith(".parquet") else "line"
        line, problem = self.first
        raise ValueError(
            f"{self.name} {where} {line}, {problem}; correct it, or drop such rows with a "
            f"larger prepare.max_bad_share (= {self.max_bad_share}; {self.num_bad} of "
            f"{self.num_rows} rows are bad)"
        )


def good_rows(sheets: Iterable[pl.DataFrame], name: str, max_bad_share: float) -> pl.DataFrame:
    """Return the good rows of all sheets of a file. Raises ValueError as `BadRows.check`."""
    bad_rows = BadRows(name, max_bad_share)
    rows = pl.concat([bad_rows.drop(sheet) for sheet in sheets])
    bad_rows.check()
    return rows


def need_column(sheet: pl.DataFrame, name: str, column: str, fix: str) -> None:
    """Raise ValueError with the file, its columns and the fix when the column is missing."""
    columns = [c for c in sheet.columns if c not in (LINE, PROBLEM)]
    if column in columns:
        return
    nearest = "".join(f"; nearest is {found}" for found in near(column, columns))
    raise ValueError(f"{name}: has no column {column}{nearest} (found {', '.join(columns)}); {fix}")


def read_parquet(
    path: Path, columns: Collection[str] | None = None, *, kept: Collection[str] = ()
) -> Iterator[pl.DataFrame]:
    """Read a Parquet file as sheets.

    Numbers become text (1.0 becomes 1 where the whole column holds whole numbers), times become
    milliseconds since 1970, lists stay lists. columns: those to read as text, None for all; the
    others are in the sheets, but empty. kept: columns to read with the type that they have.

    Raises ValueError for a damaged file, for one without rows, and for a column to read whose type
    has no such text.
    """
    try:
        lazy = pl.scan_parquet(path)
        schema = lazy.collect_schema()
        height = lazy.select(pl.len()).collect().item()
        if not height:
            raise ValueError(f"{path.name}: has no rows; give a file with data")
        whole = _whole_number_columns(lazy, schema)
        texts = []
        for column, dtype in schema.items():
            if column in kept:
                text = pl.col(column)
            elif columns is not None and column not in columns:
                text = pl.lit(None, pl.String)
            elif dtype in UNREADABLE or (dtype.is_nested() and not isinstance(dtype, pl.List)):
                raise ValueError(
                    f"{path.name}: column {column} is of type {dtype}; save it as text, numbers or "
                    "lists"
                )
            else:
                text = _parquet_text(column, dtype, is_whole=column in whole)
            texts.append(text.alias(column))
        frames = lazy.select(texts)
        for start in range(0, height, PARQUET_ROWS):
            yield _numbered(frames.slice(start, PARQUET_ROWS).collect(), start + 1)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path.name}: is damaged or no Parquet file ({reason}); {DOWNLOAD_AGAIN}"
        ) from None


def _whole_number_columns(lazy: pl.LazyFrame, schema: pl.Schema) -> set[str]:
    """Return the columns of floats that hold whole numbers alone.

    pandas writes integers with gaps as floats. An infinite or a very large number is not counted as
    whole, as it does not fit into an integer.
    """
    floats = [name for name, dtype in schema.items() if dtype.is_float()]
    if not floats:
        return set()
    column = pl.col(floats)
    is_integer = column.is_finite() & (column == column.floor()) & (column.abs() < 2**63)
    is_whole = (column.is_null() | column.is_nan() | is_integer).all()
    found = lazy.select(is_whole).collect().row(0, named=True)
    return {name for name, whole in found.items() if whole}


def _parquet_text(name: str, dtype: pl.DataType, *, is_whole: bool) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.List):
        return column.cast(pl.List(pl.String), strict=False)
    if dtype.is_temporal():
        return column.cast(pl.Datetime("ms")).cast(pl.Int64).cast(pl.String)
    if is_whole:
        return column.cast(pl.Int64, strict=False).cast(pl.String)
    return column.cast(pl.String, strict=False)


def read_csv(
    lines: Iterable[tuple[int, bytes]],
    name: str,
    *,
    columns: list[str] | None = None,
    separator: str = ",",
    quote: str | None = '"',
    recode: Callable[[bytes], bytes] = bytes,
) -> Iterator[pl.DataFrame]:
    """Read the lines of a CSV file as sheets, one for each block.

    lines: as `glta.io.streams.blocks` yields them, in UTF-8. name: of the file, for errors.
    columns: names of the columns where the file has no header. quote: None where quotes have no
    meaning. recode: turns a block into UTF-8 first.

    A row with too few or too many cells is marked in PROBLEM. Raises ValueError with file and line
    when a block cannot be cut into cells at all, and for a file without rows.
    """
    num_rows = 0
    for line, block in lines:
        content = recode(block)
        if content.isspace():
            continue
        if content.endswith((b"\n\n", b"\n\r\n")):
            content = content.rstrip(b"\r\n")
        sheet = _Block(content, name, line, columns, separator, quote).read()
        columns = [c for c in sheet.columns if c not in (LINE, PROBLEM)]
        num_rows += sheet.height
        yield sheet
    if columns is None:
        raise ValueError(f"{name}: is empty; {DOWNLOAD_AGAIN}, or give a file with data")
    if not num_rows:
        raise ValueError(f"{name}: has a header but no rows; give a file with data")


@dataclass(frozen=True)
class _Block:
    """Read one block of a CSV file.

    line: number of its first line. columns: names of the columns; None where its first line is the
    header.
    """

    content: bytes
    name: str
    line: int
    columns: list[str] | None
    separator: str
    quote: str | None

    def read(self) -> pl.DataFrame:
        """Return the rows as a sheet.

        Polars is fast, but fills short rows silently and does not tell the lines. So its result is
        taken only if each line is one whole row; else the slow way is gone.
        """
        try:
            frame = pl.read_csv(
                self.content,
                has_header=self.columns is None,
                new_columns=self.columns,
                separator=self.separator,
                quote_char=self.quote,
                infer_schema=False,
            )
        except pl.exceptions.PolarsError:
            return self._read_slowly()
        if not self._is_regular(frame):
            return self._read_slowly()
        return _numbered(frame, self.line if self.columns else self.line + 1)

    def _is_regular(self, frame: pl.DataFrame) -> bool:
        """Tell whether each line of the block is one row with all its cells."""
        num_lines = self.content.count(b"\n") + (not self.content.endswith(b"\n"))
        num_header_lines = 0 if self.columns else 1
        if num_lines != frame.height + num_header_lines:
            return False
        if self.columns and len(self.columns) != frame.width:
            return False
        if any("_duplicated_" in column for column in frame.columns):
            return False  # the name that Polars gives to a second column of the same name
        if self.quote is not None and self.quote.encode() in self.content:
            # A separator within quotes is no border of a cell, so separators cannot be counted. A
            # short row has null in its last cell.
            return frame[:, -1].null_count() == 0
        return self._is_rectangular(frame, num_lines)

    def _is_rectangular(self, frame: pl.DataFrame, num_lines: int) -> bool:
        """Tell whether each line of a block without quotes has all its cells.

        Polars gives null for a cell that a line lacks, and for one that is empty.
        """
        num_separators = frame.width - 1
        if self.content.count(self.separator.encode()) != num_separators * num_lines:
            return False
        if not frame[:, -1].null_count():
            return True  # no line is short, and so, by their sum, none is long
        lines = pl.read_csv(
            self.content,
            has_header=False,
            separator="\0",
            quote_char=None,
            infer_schema=False,
            new_columns=["line"],
        )
        counts = lines["line"].str.count_matches(self.separator, literal=True)
        return bool((counts == num_separators).fill_null(False).all())

    def _read_slowly(self) -> pl.DataFrame:
        """Read with Python's csv module, which knows the line of every row and counts its cells."""
        line = self.line
        try:
            text = self.content.decode("utf-8")
        except UnicodeDecodeError as error:
            line += self.content.count(b"\n", 0, error.start)
            raise ValueError(
                f"{self.name} line {line}: byte {self.content[error.start]:#x} is not UTF-8; save "
                "the file as UTF-8"
            ) from None
        csv.field_size_limit(2**31 - 1)
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=self.separator,
            strict=True,
            quotechar=self.quote,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
        )
        rows: list[tuple] = []
        begin = line  # of the row that is read next
        try:
            header = self.columns or next(reader)
            width = len(header)
            begin = line + reader.line_num
            for row in reader:
                if len(row) == width:
                    rows.append((*(cell or None for cell in row), begin, None))
                elif row:  # an empty line holds no row
                    problem = f"has {len(row)} cells instead of {width}"
                    rows.append((*[None] * width, begin, problem))
                begin = line + reader.line_num
        except csv.Error as error:
            raise ValueError(
                f"{self.name} line {begin}: cannot be cut into cells ({error}); check its quotes"
            ) from None
        if len(set(header)) < width:
            raise ValueError(
                f"{self.name} line 1: names a column twice; give each column its own name"
            )
        schema = dict.fromkeys(header, pl.String) | {LINE: pl.Int64, PROBLEM: pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row")


def _numbered(frame: pl.DataFrame, first: int) -> pl.DataFrame:
    """Return a frame of good rows as a sheet, one row a line from `first` on."""
    lines = pl.int_range(first, first + pl.len(), dtype=pl.Int64)
    return frame.with_columns(lines.alias(LINE), pl.lit(None, pl.String).alias(PROBLEM))
