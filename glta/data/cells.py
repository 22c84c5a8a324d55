"""Files to cells of text, and cells to checked columns: every bad row is known by its line, none is skipped silently.

A sheet is a frame of text columns as they stand in the file, with two columns of ours: LINE (where the row begins: a line of
a text file, a row of a Parquet file, both counted from 1) and PROBLEM (null, or what is wrong with the row).
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import polars as pl

LINE, PROBLEM = "__line__", "__problem__"
AGAIN = "delete it and run the stage download again"


def missing(column: str) -> pl.Expr:
    """True where a text cell says nothing: null, blank, or the NaN that other programs write."""
    text = pl.col(column).str.strip_chars().str.to_lowercase()
    return text.is_null() | text.is_in(["", "nan"])


def mark(sheet: pl.DataFrame, bad: pl.Expr, problem: pl.Expr) -> pl.DataFrame:
    """Note a problem in the rows where `bad` holds; the first problem of a row stays."""
    return sheet.with_columns(pl.coalesce(PROBLEM, pl.when(bad).then(problem)).alias(PROBLEM))


def sift(sheet: pl.DataFrame, name: str, max_bad_share: float) -> tuple[pl.DataFrame, int]:
    """Return the good rows without our two columns, and the number of bad ones.

    Raises ValueError that names the first bad line when more than max_bad_share of the rows are bad.
    """
    bad = sheet.filter(pl.col(PROBLEM).is_not_null()).sort(LINE)
    if bad.height > max_bad_share * sheet.height:
        where = "row" if name.endswith(".parquet") else "line"
        line, problem = bad[LINE][0], bad[PROBLEM][0]
        raise ValueError(
            f"{name} {where} {line}, {problem}; correct it, or drop such rows with a larger prepare.max_bad_share "
            f"(= {max_bad_share}; {bad.height} of {sheet.height} rows are bad)"
        )
    good = sheet.filter(pl.col(PROBLEM).is_null()) if bad.height else sheet
    return good.drop(LINE, PROBLEM), bad.height


def need_column(sheet: pl.DataFrame, name: str, column: str, parameter: str) -> None:
    """Raise ValueError that names the file, the nearest column and the parameter to change unless the column exists."""
    columns = [c for c in sheet.columns if c not in (LINE, PROBLEM)]
    if column not in columns:
        wanted = column.lower()

        def likeness(other: str) -> tuple[bool, float]:
            other = other.lower()
            return wanted in other or other in wanted, difflib.SequenceMatcher(None, wanted, other).ratio()

        nearest = max(columns, key=likeness)
        raise ValueError(f"{name}: has no column {column}; nearest is {nearest} (found {', '.join(columns)}); set {parameter}")


def read_member(archive: Path, member: str) -> bytes:
    """Read one file of a zip archive into memory; nothing is ever unpacked to the disk.

    Raises ValueError for a damaged archive, for a missing member, and for member names that point outside.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
            for name in names:
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
                    raise ValueError(f"{archive}: holds a file named {name!r}, outside of the archive; do not use this archive")
            if member not in names:
                near = difflib.get_close_matches(member, names, n=1, cutoff=0.0)
                raise ValueError(f"{archive}: has no file {member}; nearest is {near[0] if near else 'none'}; {AGAIN}")
            return opened.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{archive}: is damaged ({error}); {AGAIN}") from None


def read_sheet(path: Path) -> pl.DataFrame:
    """Read the user's CSV, CSV.gz or Parquet as a sheet. Raises ValueError that names the file."""
    if path.suffix == ".parquet":
        return read_parquet(path)
    content = path.read_bytes()
    if path.suffix == ".gz" or content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path.name}: is damaged or no gzip file ({error}); {AGAIN}") from None
    return read_csv(content, path.name)


def read_parquet(path: Path) -> pl.DataFrame:
    """Read Parquet as a sheet: numbers become their text (1.0 as 1), times milliseconds since 1970, lists stay lists."""
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"{path.name}: is damaged or no Parquet file ({str(error).splitlines()[0]}); {AGAIN}") from None
    if not frame.height:
        raise ValueError(f"{path.name}: has no rows; give a file with data")

    def text(name: str, dtype: pl.DataType) -> pl.Expr:
        column = pl.col(name)
        if isinstance(dtype, pl.List):
            return column.cast(pl.List(pl.String), strict=False)
        if dtype.is_temporal():
            return column.cast(pl.Datetime("ms")).cast(pl.Int64).cast(pl.String)
        if dtype.is_float():  # integers with gaps come from pandas as floats
            whole = (column.is_null() | column.is_nan() | (column == column.floor())).all()
            return pl.when(whole).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(column.cast(pl.String))
        return column.cast(pl.String, strict=False)

    return _lined(frame.select(text(n, t).alias(n) for n, t in frame.schema.items()), 1)


def read_csv(
    content: bytes, name: str, columns: list[str] | None = None, separator: str = ",", quote: str | None = '"'
) -> pl.DataFrame:
    """Read UTF-8 text with cells as a sheet; columns: their names where the file has no header.

    Raises ValueError that names file and line when the text cannot be cut into cells at all.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{name} line 1: is UTF-16 text; save the file as UTF-8")
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content or content.isspace():
        raise ValueError(f"{name}: is empty; {AGAIN}, or give a file with data")
    if content.endswith((b"\n\n", b"\n\r\n")):
        content = content.rstrip(b"\r\n")
    first = 1 if columns else 2
    try:
        frame = pl.read_csv(
            content, has_header=columns is None, new_columns=columns, separator=separator, quote_char=quote, infer_schema=False
        )
    except pl.exceptions.PolarsError:
        return _read_slowly(content, name, columns, separator, quote)
    lines = frame.height + first - 1
    regular = content.count(b"\n") + (not content.endswith(b"\n")) == lines
    if regular and quote is not None and quote.encode() in content:
        regular = frame[:, -1].null_count() == 0
    elif regular:
        regular = _equally_long(content, frame, separator, lines)
    if not regular:
        return _read_slowly(content, name, columns, separator, quote)
    if not frame.height:
        raise ValueError(f"{name}: has a header but no rows; give a file with data")
    return _lined(frame, first)


def _equally_long(content: bytes, frame: pl.DataFrame, separator: str, lines: int) -> bool:
    """Tell whether each line (without quotes) has all its cells; Polars fills short and empty ones with nulls."""
    if content.count(separator.encode()) != (frame.width - 1) * lines:
        return False
    if not frame[:, -1].null_count():
        return True  # no line is short, so by their sum none is long
    whole = pl.read_csv(content, has_header=False, separator="\0", quote_char=None, infer_schema=False, new_columns=["line"])
    return bool((whole["line"].str.count_matches(separator, literal=True) == frame.width - 1).fill_null(False).all())


def _lined(frame: pl.DataFrame, first: int) -> pl.DataFrame:
    problem = pl.lit(None, pl.String).alias(PROBLEM)
    return frame.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias(LINE), problem)


def _read_slowly(content: bytes, name: str, columns: list[str] | None, separator: str, quote: str | None) -> pl.DataFrame:
    """Read with Python's csv module, which knows the line of every row and its number of cells."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{name} line {line}: byte {content[error.start]:#x} is not UTF-8; save the file as UTF-8") from None
    quoting = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, **quoting)
    csv.field_size_limit(2**31 - 1)
    rows, begin = [], 1
    try:
        header = columns or next(reader)
        width, begin = len(header), reader.line_num + 1
        for row in reader:
            if len(row) == width:
                rows.append((*(cell or None for cell in row), begin, None))
            elif row:  # an empty line holds no row
                rows.append((*[None] * width, begin, f"has {len(row)} cells instead of {width}"))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{name} line {begin}: cannot be cut into cells ({error}); check its quotes") from None
    if not rows:
        raise ValueError(f"{name}: has a header but no rows; give a file with data")
    if len(set(header)) < width:
        raise ValueError(f"{name} line 1: names a column twice; give each column its own name")
    return pl.DataFrame(rows, schema={**dict.fromkeys(header, pl.String), LINE: pl.Int64, PROBLEM: pl.String}, orient="row")
