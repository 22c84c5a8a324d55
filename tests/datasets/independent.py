"""A second, plain reading of the user's tables, to compare with: csv, json, pyarrow, and rules.

It is slow and knows how each file was written, and shares no code with the readers.
"""

import csv
import io
import json
import math
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow.parquet  # mlflow, which the pipeline needs, brings it

NULLS = {
    *("", "NULL", "null", "NaN", "nan", "NAN", "-nan", "-NaN", "None", "NaT", "\\N"),
    *("NA", "<NA>", "N/A", "n/a", "#N/A", "#NA"),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Bad(Exception):
    """The row or the table has to be refused."""


def rows_of_csv(content: bytes, separator: str, names: list[str] | None) -> list[dict[str, Any]]:
    """Return the rows of a CSV. names: of its columns, where it has no header."""
    text = content.decode("utf-8-sig")
    stand_in = separator if len(separator) == 1 else "\x1f"
    reader = csv.reader(
        io.StringIO(text.replace(separator, stand_in), newline=""), delimiter=stand_in, strict=True
    )
    cells = [[cell.replace(stand_in, separator) for cell in row] for row in reader if row]
    if names is None:
        names, *cells = cells
        names = [name.strip().split(":")[0] for name in names]
    if any(len(row) != len(names) for row in cells):
        raise Bad("cells")
    return [dict(zip(names, row, strict=True)) for row in cells]


def rows_of_json(content: bytes) -> list[dict[str, Any]]:
    """Return the objects of a JSON list, or of the lines."""
    text = content.decode("utf-8-sig")
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def rows_of_parquet(content: bytes) -> list[dict[str, Any]]:
    return pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()


def is_nothing(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip() in NULLS
    return value is None or (isinstance(value, float) and math.isnan(value))


def an_id(value: Any) -> str:
    if is_nothing(value):
        raise Bad("no id")
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Bad("type of id")
    if value != int(value) or (isinstance(value, float) and abs(value) >= 2**53):
        raise Bad("fraction")
    return str(int(value))


def a_number(value: Any) -> float | None:
    if is_nothing(value):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise Bad("type of number")
    try:
        number = float(value)
    except ValueError:
        raise Bad("number") from None
    if not math.isfinite(number) or abs(number) >= 2**63:
        raise Bad("infinite")
    return number


def a_time(value: Any) -> int | None:
    """Return the milliseconds of a date, or the number, rounded down."""
    exact = an_exact_time(value)
    return None if exact is None else math.floor(exact)


def an_exact_time(value: Any) -> Fraction | None:
    """Return the milliseconds of a date, or the number."""
    if is_nothing(value):
        return None
    if isinstance(value, bool):
        raise Bad("type of time")
    if isinstance(value, str):
        try:
            return Fraction(Decimal(value.strip()))
        except (ArithmeticError, ValueError):  # no number, or none that is finite
            pass
        try:
            value = datetime.fromisoformat(value.strip().replace(" UTC", "Z"))
        except ValueError:
            raise Bad("time") from None
    if isinstance(value, datetime):
        whole = value if value.tzinfo else value.replace(tzinfo=UTC)
        passed = whole - EPOCH
        micros = (passed.days * 86400 + passed.seconds) * 1_000_000 + passed.microseconds
        return Fraction(micros, 1000)
    if isinstance(value, date):
        return Fraction((value - EPOCH.date()).days * 86_400_000)
    if not isinstance(value, int | float | Decimal):
        raise Bad("type of time")
    return Fraction(value)


def is_date(value: Any) -> bool:
    return isinstance(value, date) or (isinstance(value, str) and value.strip()[4:5] == "-")


def a_text(value: Any, *, nulls: bool) -> str:
    """nulls: whether words such as NULL stand for no text."""
    text = _words(value).strip()
    return "" if nulls and text in NULLS else text


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(filter(None, map(_words, value)))
    if isinstance(value, dict | bytes):
        raise Bad("type of text")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def some_categories(value: Any, separator: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        if value.strip() in NULLS:
            return []
        names: Iterable[str] = value.split(separator)
    elif isinstance(value, list):
        names = [name for part in value for name in _inner(part)]
    else:
        names = _inner(value)
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))


def _inner(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for part in value for name in _inner(part)]
    if isinstance(value, dict):
        if not isinstance(value.get("name"), str):
            raise Bad("object")
        return [value["name"]]
    if isinstance(value, bool | bytes):
        raise Bad("type of category")
    return [] if value is None else [a_text(value, nulls=False)]


def interactions_of(rows: list[dict[str, Any]]) -> list[tuple]:
    """Return (user, item, rating, timestamp) of each row, smaller fractions of times first."""
    if not rows:
        raise Bad("empty")
    times = [row.get("timestamp") for row in rows]
    if len({is_date(time) for time in times if not is_nothing(time)}) > 1:
        raise Bad("two forms of time")
    return [
        (
            an_id(row.get("user_id")),
            an_id(row.get("item_id")),
            a_number(row.get("rating")),
            a_time(row.get("timestamp")),
        )
        for row in sorted(rows, key=lambda row: (an_exact_time(row.get("timestamp")) or 0) % 1)
    ]


def items_of(rows: list[dict[str, Any]], separator: str) -> list[tuple]:
    """Return (item, title, description, categories) of each row."""
    found = [
        (
            an_id(row.get("item_id")),
            a_text(row.get("title"), nulls=False),
            a_text(row.get("description"), nulls=True),
            some_categories(row.get("categories"), separator),
        )
        for row in rows
    ]
    if not any(title or description or names for _, title, description, names in found):
        raise Bad("no text")
    if len({item for item, *_ in found}) < len(found):
        raise Bad("an item twice")
    return [
        (item, title or ("" if description or names else item), description, names)
        for item, title, description, names in found
    ]
