"""Files with one record a line, JSON or the Python literals of older datasets, as sheets (see `glta.data.cells`)."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson
import polars as pl

from glta.data.cells import LINE, PROBLEM, need_column
from glta.data.streams import AGAIN

Parse = Callable[[bytes], Any]
RECORDS = 50_000  # of a sheet


def parse_json(line: bytes) -> Any:
    """Read a line of JSON; a field that occurs twice has its last value. Raises ValueError."""
    return orjson.loads(line)


def parse_literal(line: bytes) -> Any:
    """Read a line of JSON or a Python literal, which is parsed and never run. Raises ValueError."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            return ast.literal_eval(line.decode("utf-8").strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise ValueError(f"nor a Python literal ({error})") from None


def read_records(
    lines: Iterable[tuple[int, bytes]],
    name: str,
    parse: Parse,
    ids: Sequence[str],
    texts: Sequence[str] = (),
    lists: Sequence[str] = (),
    fixes: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[pl.DataFrame]:
    """Read blocks of lines as sheets with the given fields as columns.

    ids: fields that every record must have, text or whole numbers, of one kind in the whole file. texts: fields read as text,
    numbers too; the parts of a list are joined by spaces. lists: fields read as lists of text, nested ones made flat, objects
    as their keys. fixes: by field, what to do when it is not there. Raises ValueError for a field that none of the first
    records has; bad lines are marked.
    """
    kinds: dict[str, tuple[type, int]] = {}
    wanted, seen = (*ids, *texts, *lists), set()
    keys = [(field, f'"{field}"'.encode(), f"'{field}'".encode()) for field in (*ids, *texts)]
    columns: dict[str, list] = {}
    schema = {**dict.fromkeys((*ids, *texts), pl.String), **dict.fromkeys(lists, pl.List(pl.String))}
    schema |= {LINE: pl.Int64, PROBLEM: pl.String}

    def problem_of(line: bytes, number: int, record: Any) -> str | None:
        if not isinstance(record, dict):
            return "is no record with named fields"
        for field, *quoted in keys:
            if any(line.count(q) > 1 for q in quoted) and field in _repeated(line):
                return f"has the field {field} twice"
        for field in ids:
            value = record.get(field)
            if value is None:
                return f"column {field}: is missing; every line needs it (this one has {', '.join(record)})"
            if type(value) not in (str, int):
                return f"column {field} = {value}: must be text or a whole number"
            kind, first = kinds.setdefault(field, (type(value), number))
            if type(value) is not kind:
                words = {str: "text", int: "a number"}
                return f"column {field} = {value}: is {words[type(value)]}, but {words[kind]} in line {first}; write ids alike"
        return None

    def sheet() -> pl.DataFrame:
        nonlocal columns
        names = pl.DataFrame(schema=dict.fromkeys(sorted(seen), pl.String))
        for field in wanted if kinds else ():  # where no record could be read, the first bad line says more
            need_column(names, name, field, fixes.get(field, AGAIN))
        full, columns = columns, {}
        return pl.DataFrame(full, schema=schema)

    total = 0
    for first, block in lines:
        for number, line in enumerate(block.split(b"\n"), first):
            if not line.strip():
                continue
            columns = columns or {column: [] for column in schema}
            try:
                record = parse(line)
                problem = problem_of(line, number, record)
            except ValueError as error:
                record, problem = {}, f"is not JSON ({error})"
            if problem:
                record = {}
            elif total < RECORDS:
                seen.update(record)
            for field in ids:
                columns[field].append(_text(record.get(field)))
            for field in texts:
                columns[field].append(_text(record.get(field)))
            for field in lists:
                columns[field].append(_list(record.get(field)))
            columns[LINE].append(number)
            columns[PROBLEM].append(problem)
            total += 1
            if len(columns[LINE]) == RECORDS:
                yield sheet()
    if columns:
        yield sheet()
    elif not total:
        raise ValueError(f"{name}: has no records; give a file with data")


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value if value.isascii() else _whole_characters(value)
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return " ".join(filter(None, map(_text, value)))
    return str(value)


def _list(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list | tuple | dict):
        return [text for part in value for text in _list(part)]
    return [_text(value)]


def _whole_characters(text: str) -> str:
    """Join the halves of characters that Python 2 wrote as two."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _repeated(line: bytes) -> set[str]:
    """Return the names that the outermost object has more than once."""
    try:
        names = []
        json.loads(line, object_pairs_hook=lambda pairs: names.append([name for name, _ in pairs]))
        found = names[-1]  # the outermost object ends last
    except ValueError:
        tree = ast.parse(line.decode("utf-8").strip(), mode="eval").body
        found = [node.value for node in tree.keys if isinstance(node, ast.Constant)]
    return {name for name in found if found.count(name) > 1}
