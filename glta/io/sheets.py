"""Files to sheets: frames of text cells in which every row knows its line and its problem.

A sheet has the columns of the file, as text, and two more columns. LINE tells where the row begins:
the line of a text file, or the row of a Parquet file, both counted from 1. PROBLEM is null, or says
what is wrong with the row. A large file gives several sheets, one after another.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from glta.io.streams import DOWNLOAD_AGAIN, NoRows
from glta.io.values import shown
from glta.nearest import near

Place = Callable[[int], str]

LINE = "__line__"
PROBLEM = "__problem__"


def line_place(line: int) -> str:
    """Write a value of LINE of a text file."""
    return f"line {line}"


def is_blank(column: str, null_words: Collection[str] | None = None) -> pl.Expr:
    """Tell which cells say nothing: null, blank, or a word that stands for no value.

    null_words: these words; None: the NaN that other programs write, in any case.
    """
    text = pl.col(column).str.strip_chars()
    if null_words is None:
        return text.is_null() | text.str.to_lowercase().is_in(["", "nan"])
    return text.is_null() | text.is_in(["", *null_words])


def mark(sheet: pl.DataFrame, *problems: pl.Expr) -> pl.DataFrame:
    """Write problems into the rows where they are not null; the first problem of a row stays."""
    return sheet.with_columns(pl.coalesce(PROBLEM, *problems).alias(PROBLEM))


def shortened(column: str, *, small: bool = False) -> pl.Expr:
    """Tell of long numbers as spreadsheets show them, such as 1.57784E+12: their end is lost.

    small: also those of other programs, such as 1.57784e+12. A time so written may have all its
    digits. numpy's 18 decimals are a whole number.
    """
    text = pl.col(column).str.strip_chars()
    problem = pl.format(
        f"column {column} = {{}}: is a long number that a spreadsheet has shortened; export the "
        "column as text",
        text,
    )
    exponent = "[eE]" if small else "E"
    pattern = rf"^[+-]?\d(\.\d{{1,16}})?{exponent}\+\d{{2,3}}$"
    return pl.when(text.str.contains(pattern)).then(problem)


class BadRows:
    """Take the bad rows out of the sheets of one file, and count them.

    name: of the file, for errors. max_bad_share: a larger share of bad rows is an error (`check`).
    place: writes a value of LINE for errors.
    """

    def __init__(self, name: str, max_bad_share: float, place: Place = line_place):
        self.name = name
        self.place = place
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
        line, problem = self.first
        raise ValueError(
            f"{self.name} {self.place(line)}, {problem}; correct it, or drop such rows with a "
            f"larger prepare.max_bad_share (= {self.max_bad_share}; {self.num_bad} of "
            f"{self.num_rows} rows are bad)"
        )


def good_rows(sheets: Iterable[pl.DataFrame], name: str, max_bad_share: float) -> pl.DataFrame:
    """Return the good rows of all sheets of a file. Raises ValueError as `BadRows.check`."""
    bad_rows = BadRows(name, max_bad_share)
    rows = pl.concat([bad_rows.drop(sheet) for sheet in sheets])
    bad_rows.check()
    return rows


def need_columns(sheet: pl.DataFrame, name: str, fixes: Mapping[str, str]) -> None:
    """Raise ValueError with the file, its columns and the fix when a column is missing.

    fixes: what to do for each column that must be there.
    """
    columns = [c for c in sheet.columns if c not in (LINE, PROBLEM)]
    missing = [column for column in fixes if column not in columns]
    if not missing:
        return
    column, *others = missing
    nearest = "".join(f"; nearest is {found}" for found in near(column, columns))
    too = "".join(f"; nor has it {other}: {fixes[other]}" for other in others)
    raise ValueError(
        f"{name}: has no column {column}{nearest} (found {shown(', '.join(columns), 400)}); "
        f"{fixes[column]}{too}"
    )


def convert(
    sheet: pl.DataFrame, column: str, function: Callable[[Any], Any], dtype: pl.DataType
) -> pl.DataFrame:
    """Return a sheet with the values of a column turned into others, one by one.

    function: gets a value; its ValueError says what is wrong with it, and marks the row. None stays
    None. dtype: of the new values.
    """
    values: list[Any] = []
    problems: list[str | None] = []
    for value in sheet[column].to_list():
        problem = None
        try:
            values.append(None if value is None else function(value))
        except ValueError as error:
            values.append(None)
            problem = f"column {column} = {shown(value)}: {error}"
        problems.append(problem)
    return sheet.with_columns(
        pl.Series(column, values, dtype),
        pl.coalesce(PROBLEM, pl.Series(problems, dtype=pl.String)).alias(PROBLEM),
    )


def read_csv(
    lines: Iterable[tuple[int, bytes]],
    name: str,
    *,
    columns: list[str] | None = None,
    separator: str = ",",
    quote: str | None = '"',
    recode: Callable[[bytes], bytes] = bytes,
    again: str = DOWNLOAD_AGAIN,
    quote_fix: str = "check its quotes",
) -> Iterator[pl.DataFrame]:
    """Read the lines of a CSV file as sheets, one for each block.

    lines: as `glta.io.streams.blocks` yields them, in UTF-8. name: of the file, for errors.
    columns: names of the columns where the file has no header. quote: None where quotes have no
    meaning. recode: turns a block into UTF-8 first. again: what to do about an empty file.
    quote_fix: what to do about a block that cannot be cut into cells.

    A row with too few or too many cells is marked in PROBLEM. Raises ValueError with file and line
    when a block cannot be cut into cells at all, and NoRows for a file without rows.
    """
    num_rows = 0
    for line, block in lines:
        content = recode(block)
        if not content or content.isspace():
            continue
        if content.endswith((b"\n\n", b"\n\r\n")):
            content = content.rstrip(b"\r\n")
        sheet = _Block(content, name, line, columns, separator, quote, quote_fix).read()
        columns = [c for c in sheet.columns if c not in (LINE, PROBLEM)]
        num_rows += sheet.height
        yield sheet
    if columns is None:
        raise NoRows(f"{name}: is empty; {again}, or give a file with data")
    if not num_rows:
        raise NoRows(f"{name}: has a header but no rows; give a file with data")


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
    quote_fix: str

    def read(self) -> pl.DataFrame:
        """Return the rows as a sheet.

        Polars is fast, but fills short rows silently and does not tell the lines. So its result is
        taken only if each line is one whole row; else the slow way is gone.
        """
        zero = self.content.find(b"\0")
        if zero >= 0 and self.separator != "\0":
            line = self.line + self.content.count(b"\n", 0, zero)
            raise ValueError(
                f"{self.name} line {line}: holds a byte that is 0, and so is no text; correct the "
                "file"
            )
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
        return numbered(frame, self.line if self.columns else self.line + 1)

    def _is_regular(self, frame: pl.DataFrame) -> bool:
        """Tell whether each line of the block is one row with all its cells."""
        if self.content.count(b"\r") != self.content.count(b"\r\n"):
            return False  # a line end of old Macs, or part of a cell, which Polars does not tell
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
                f"{self.name} line {begin}: cannot be cut into cells ({error}); {self.quote_fix}"
            ) from None
        if len(set(header)) < width:
            twice = next(column for column in header if header.count(column) > 1)
            raise ValueError(
                f"{self.name} line {self.line}: has {width} columns, of which several are named "
                f"{twice!r}; give each column its own name"
            )
        schema = dict.fromkeys(header, pl.String) | {LINE: pl.Int64, PROBLEM: pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row")


def numbered(frame: pl.DataFrame, first: int) -> pl.DataFrame:
    """Return a frame of good rows as a sheet, one row a line from `first` on."""
    lines = pl.int_range(first, first + pl.len(), dtype=pl.Int64)
    return frame.with_columns(lines.alias(LINE), pl.lit(None, pl.String).alias(PROBLEM))
