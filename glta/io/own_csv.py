"""CSV files of the user's own: the separator and the names of the columns, found or given."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain

import polars as pl

from glta.io.packed import REPLACE
from glta.io.sheets import LINE, PROBLEM, mark, read_csv
from glta.io.streams import NoRows
from glta.io.values import shown

SEPARATORS = (",", "\t", ";", "|", "::", " ")
"""What may stand between cells; of those that fit equally well, the first is taken."""
WORDS = {"\t": "tab", " ": "blank"}  # how errors write separators that cannot be seen
MARK = "\ufeff"  # the byte-order mark, with which a file begins that was put behind another
REPEATED = "has the names of the columns once more; take the line out of the file"
FIRST_BYTES = 1 << 16  # the first row is not looked for any further
STAND_IN = "\x1f"  # for separators of several characters, which no CSV reader takes
TYPE = re.compile(r":(token|token_seq|float|float_seq)$")  # behind the names in RecBole's files
WORDS_TYPE = ":token_seq"
EXCEL_LINE = re.compile(rb'"?sep=(.)"?\r?\n')  # which Excel reads, and writes into no table


def read_own_csv(
    lines: Iterable[tuple[int, bytes]],
    name: str,
    wanted: Collection[str],
    parameter: str,
    *,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    quotes: bool = True,
    key: str = "",
) -> Iterator[pl.DataFrame]:
    """Read a CSV file as sheets, in which the wanted columns have their plain names.

    lines: as `glta.io.streams.blocks` yields them. name: of the file, for errors. wanted: names of
    columns. They may have blanks around them in the file, or RecBole's types behind them, such as
    `user_id:token`. parameter: the entry of params.yaml, for errors. separator: between the cells;
    None finds it in the first line. header: names of the columns of a file without such a line.
    quotes: whether a double quote at the begin of a cell means that it ends at the next one.
    key: what the keys `separator` and `header` begin with in the entry, such as `items_`.

    Raises ValueError as `read_csv`, and for a file whose first line cannot be cut into cells.
    """
    blocks = iter(lines)
    line = 1
    whole = b""
    for line, content in blocks:
        if given := EXCEL_LINE.match(content):
            separator = separator or given[1].decode("latin-1")
        whole = content[given.end() if given else 0 :].lstrip(b"\r\n")
        line += content.count(b"\n", 0, len(content) - len(whole))
        if whole and not whole.isspace():
            break
    else:
        raise NoRows(f"{name}: is empty; {REPLACE}, or give a file with data")
    first = _first_row(whole, quotes)
    keys = f"{parameter}.{key}"
    separator = _found(first, wanted, header, separator, place=f"{name} line {line}", keys=keys)
    if header is None:
        _refuse_data(first, separator, wanted, place=f"{name} line {line}", keys=keys)
    else:
        _refuse_header(first, separator, header, place=f"{name} line {line}", keys=keys)
    long = len(separator.encode()) > 1

    def recode(block: bytes) -> bytes:
        if STAND_IN.encode() in block:
            raise ValueError(f"{name}: holds the character U+001F; take it out of the file")
        return block.replace(separator.encode(), STAND_IN.encode())

    sheets = read_csv(
        chain([(line, whole)], blocks),
        name,
        columns=None if header is None else list(header),
        separator=STAND_IN if long else separator,
        quote='"' if quotes else None,
        recode=recode if long else bytes,
        again=REPLACE,
        quote_fix=f"check its quotes, or set {parameter}.quotes: false if they are text",
    )
    for sheet in sheets:
        if header is None:
            sheet = mark(sheet, pl.when(_is_header(sheet.columns)).then(pl.lit(REPEATED)))
        if long:  # what was within quotes
            texts = pl.exclude(LINE, PROBLEM).str.replace_all(STAND_IN, separator, literal=True)
            sheet = sheet.with_columns(texts)
        yield sheet.rename(_plain_names(sheet.columns, wanted, name))


def is_token_list(lines: Iterable[tuple[int, bytes]], column: str) -> bool:
    """Tell whether the first line of a file says that a column holds RecBole's lists of words."""
    _, content = next(iter(lines), (1, b""))
    first = content.lstrip(b"\r\n").partition(b"\n")[0].decode("utf-8", "replace")
    return bool(re.search(rf"(^|\W){re.escape(column)}{WORDS_TYPE}(\W|$)", first))


def _first_row(content: bytes, quotes: bool) -> str:
    """Return the text of the first row: a line or, where a cell holds line ends, several."""
    end = content.find(b"\n")
    while quotes and end >= 0 and content.count(b'"', 0, end) % 2:
        if end > FIRST_BYTES:  # a quote that never closes
            return content.partition(b"\n")[0].decode("utf-8", "replace")
        end = content.find(b"\n", end + 1)
    row = content if end < 0 else content[:end]
    return row.decode("utf-8", "replace").rstrip("\r")


def _cells(row: str, separator: str) -> list[str]:
    """Return the cells of a row; the only cell of one that cannot be cut is the whole row."""
    if len(separator) > 1:
        row = row.replace(separator, STAND_IN)
        separator = STAND_IN
    try:
        return next(csv.reader(io.StringIO(row, newline=""), delimiter=separator), [])
    except csv.Error:
        return [row]


def _is_header(columns: Sequence[str]) -> pl.Expr:
    """Tell which rows have the names of the columns, as files have that were put together."""
    cells = [column for column in columns if column not in (LINE, PROBLEM)]
    return pl.all_horizontal(pl.col(c).str.strip_chars_start(MARK) == c for c in cells)


def _plain(column: str) -> str:
    """Return the name of a column without blanks around it, and without RecBole's type."""
    return TYPE.sub("", column.strip())


def _found(
    first: str,
    wanted: Collection[str],
    header: Sequence[str] | None,
    given: str | None,
    *,
    place: str,
    keys: str,
) -> str:
    """Return the separator: the given one, or that which fits the first line best.

    place: of the line, and keys: of params.yaml, for errors.
    """
    num_needed = len(wanted) if header is None else len(header)
    if given is not None:
        if first and given not in first and num_needed > 1:
            raise ValueError(
                f"{place}: has no {WORDS.get(given, given)!r} between its cells ({shown(first)}); "
                f"set {keys}separator to what stands there, or to null to have it found"
            )
        return given

    def fit(separator: str) -> tuple[int, int]:
        cells = _cells(first, separator)
        if header is not None:
            return int(len(cells) == len(header)), 0
        num_found = len({*cells, *map(_plain, cells)} & set(wanted))
        return num_found, 0 if num_found else len(cells)

    # a blank stands within names and cells too, so it counts only where nothing else fits
    return max(SEPARATORS, key=lambda s: (fit(s)[0], s != " ", fit(s)[1]))


def _refuse_data(
    first: str, separator: str, wanted: Collection[str], *, place: str, keys: str
) -> None:
    """Raise ValueError when the first line holds numbers, and no name of a wanted column."""
    cells = _cells(first, separator)
    if {*cells, *map(_plain, cells)} & set(wanted):
        return
    if any(re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", cell) for cell in cells):
        raise ValueError(
            f"{place}: has data ({shown(first)}) where the names of the columns should be; write "
            f"such a line, or set {keys}header to the names of all columns"
        )


def _refuse_header(
    first: str, separator: str, header: Sequence[str], *, place: str, keys: str
) -> None:
    """Raise ValueError when the first line has the given names, or another number of cells."""
    cells = _cells(first, separator)
    if any(_plain(cell) == name for cell, name in zip(cells, header, strict=False)):
        raise ValueError(
            f"{place}: has the names of the columns ({shown(first)}); take {keys}header out of "
            "params.yaml"
        )
    if len(cells) != len(header):
        raise ValueError(
            f"{place}: has {len(cells)} cells ({shown(first)}), but {keys}header names "
            f"{len(header)} columns; name each column, in their order"
        )


def _plain_names(columns: Sequence[str], wanted: Collection[str], name: str) -> dict[str, str]:
    """Return the new names of columns that have a wanted name but for blanks and types."""
    renamed = {}
    for column in wanted:
        if column in columns:
            continue
        alike = [other for other in columns if _plain(other) == column]
        if len(alike) > 1:
            raise ValueError(
                f"{name} line 1: names column {column} twice ({', '.join(map(repr, alike))}); give "
                "each column its own name"
            )
        if alike:
            renamed[alike[0]] = column
    return renamed
