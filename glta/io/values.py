"""Values of the user's JSON, Parquet and text cells: as one text, or as a list of categories."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import orjson

NAMES = ("name", "title", "label")  # fields that name an object, the first that it has
SHOWN = 80  # characters of a value in an error


def shown(value: Any, length: int = SHOWN) -> str:
    """Return a value as it is written in an error: one line of at most `length` characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[: length - 4]} ..."


def text_of(value: Any) -> str | None:
    """Return a value as text, the parts of a list joined by spaces; None for no value.

    Raises ValueError for an object, which has no such text.
    """
    if isinstance(value, str):
        return whole_characters(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, int | float | Decimal):
        return str(value)
    if isinstance(value, date):  # a datetime is a date too
        return value.isoformat()
    if isinstance(value, list | tuple):
        return " ".join(filter(None, map(text_of, value)))
    raise ValueError("must be text, a number, or a list of these")


def number_of(value: Any) -> str | None:
    """Return a number, or the text that may hold one, as text. Raises ValueError for all else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise ValueError("must be a number")
    return value if isinstance(value, str) else text_of(value)


def time_of(value: Any) -> str | None:
    """Return a number, or the text that may hold a time, as text. Raises ValueError for others."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise ValueError("must be a number or a date")
    return value if isinstance(value, str) else text_of(value)


def categories_of(value: Any, separator: str) -> list[str]:
    """Return the categories that a value names, in their order.

    value: a text with `separator` between the categories; a list of texts, in other lists too; or
    objects with a name, such as {"id": 18, "name": "Drama"}. An object of counts or marks, such as
    {"Drama": 3, "War": 0}, names its keys whose value is not 0, false or null. A text may also be a
    list or an object in JSON or as Python writes it.
    Raises ValueError for a value that names none in a clear way.
    """
    if isinstance(value, str):
        inner = _literal(value)
        return value.split(separator) if inner is None else categories_of(inner, separator)
    if isinstance(value, Mapping) and _named(value) is None and _counts(value):
        return [str(key) for key, count in value.items() if count]
    return _flat(value)


def _flat(value: Any) -> list[str]:
    """Return the texts of nested lists, and the names of objects in them."""
    if isinstance(value, list | tuple):
        return [text for part in value for text in _flat(part)]
    if isinstance(value, Mapping):
        if not value:  # counts of nothing
            return []
        name = _named(value)
        if name is None:
            raise ValueError(
                f"has objects without a field {', '.join(NAMES[:-1])} or {NAMES[-1]} (they have "
                f"{', '.join(map(str, value))}); write the names of the categories as a list"
            )
        return _flat(value[name])
    if isinstance(value, bool):
        raise ValueError("must be names of categories, not true or false")
    text = text_of(value)
    return [] if text is None else [text]


def _named(value: Mapping[str, Any]) -> str | None:
    """Return the field that names an object: one of NAMES, or the only field, if it has a text."""
    fields = [field for field in NAMES if field in value] or (
        list(value) if len(value) == 1 else []
    )
    texts = [field for field in fields if isinstance(value[field], str)]
    nothing = [field for field in fields if value[field] is None]
    return next(iter([*texts, *nothing]), None)


def _counts(value: Mapping[str, Any]) -> bool:
    """Tell whether all values of an object are numbers, marks or null."""
    return bool(value) and all(isinstance(count, int | float | None) for count in value.values())


class _Nothing(ast.NodeTransformer):
    """Put None in place of the names that pandas and JSON write for no value."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(None) if node.id in ("nan", "NaN", "null") else node


def _literal(text: str) -> Any:
    """Return the list or object that a text writes in JSON or Python; None if it is other text."""
    text = text.strip()
    if not (text.startswith(("[", "{")) and text.endswith(("]", "}"))):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            value = ast.literal_eval(_Nothing().visit(ast.parse(text, mode="eval")))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    return value if isinstance(value, list | dict) else None


def whole_characters(text: str) -> str:
    """Join the two halves as which Python 2 wrote characters such as emoji."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
