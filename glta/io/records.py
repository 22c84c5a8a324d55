"""Files with one record a line, JSON or the Python literals of older datasets, as sheets (see
`glta.io.cells`).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson
import polars as pl

from glta.io.cells import LINE, PROBLEM, need_column
from glta.io.streams import AGAIN

Parse = Callable[[bytes], Any]
RECORDS = 50_000  # of a sheet
KINDS = {str: "text", int: "a number"}  # that ids may be


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


QUOTES = {
    parse_json: (b'"',),
    parse_literal: (b'"', b"'"),
}  # what may stand around the name of a field


def read_records(
    lines: Iterable[tuple[int, bytes]],
    name: str,
    parse: Parse,
    ids: Sequence[str],
    texts: Sequence[str] = (),
    lists: Sequence[str] = (),
    fixes: Mapping[str, str] = MappingProxyType({}),
    kept: Sequence[str] = (),
) -> Iterator[pl.DataFrame]:
    """Read blocks of lines as sheets with the given fields as columns.

    ids: fields that every record must have, text or whole numbers, of one kind in the whole file.
    texts: fields read as text, numbers too; the parts of a list are joined by spaces. lists: fields
    read as lists of text, nested ones made flat, objects as their keys. fixes: by field, what to do
    when it is not there. kept: fields of any type, as their JSON text; see `decoded`.
    Raises ValueError for a field that none of the first records has; bad
    lines are marked.
    """
    wanted, seen = (*ids, *texts, *lists, *kept), set()
    named = (*ids, *texts, *kept)
    quoted = [quote + field.encode() + quote for field in named for quote in QUOTES[parse]]
    kinds: list[type] = []  # of the ids, as the first good line has them
    first_good = 0

    def problem_of(line: bytes, number: int, record: Any) -> str | None:
        nonlocal kinds, first_good
        if not isinstance(record, dict):
            return "is no record with named fields"
        if any(line.count(q) > 1 for q in quoted) and (
            twice := _repeated(line).intersection(wanted)
        ):
            return f"has the field {twice.pop()} twice"
        for at, field in enumerate(ids):
            value = record.get(field)
            if value is None:
                return (
                    f"column {field}: is missing; every line needs it (this one has "
                    f"{', '.join(record)})"
                )
            if type(value) not in KINDS:
                return f"column {field} = {value}: must be text or a whole number"
            if kinds and type(value) is not kinds[at]:
                other = f"is {KINDS[type(value)]}, but {KINDS[kinds[at]]} in line {first_good}"
                return f"column {field} = {value}: {other}; write ids alike"
        if not kinds:
            kinds, first_good = [type(record[field]) for field in ids], number
        return None

    schema = {
        **dict.fromkeys(named, pl.String),
        **dict.fromkeys(lists, pl.List(pl.String)),
    }
    schema |= {LINE: pl.Int64, PROBLEM: pl.String}
    columns: dict[str, list] = {column: [] for column in schema}
    reads = dict.fromkeys(lists, _list) | dict.fromkeys(kept, _json)
    cells = [(field, columns[field], reads.get(field, _text)) for field in wanted]

    def sheet() -> pl.DataFrame:
        names = pl.DataFrame(schema=dict.fromkeys(sorted(seen), pl.String))
        for field in (
            wanted if seen else ()
        ):  # where no record could be read, the first bad line says more
            need_column(names, name, field, fixes.get(field, AGAIN))
        full = pl.DataFrame(columns, schema=schema)
        for column in columns.values():
            column.clear()
        return full

    total = 0
    for first, block in lines:
        for number, line in enumerate(block.split(b"\n"), first):
            if not line.strip():
                continue
            try:
                record = parse(line)
            except ValueError as error:
                record, problem = {}, f"is not JSON ({error})"
            else:
                alike = type(record) is dict and [type(record.get(field)) for field in ids] == kinds
                quick = alike and not any(
                    line.count(q) > 1 for q in quoted
                )  # what nearly every line passes
                problem = None if quick else problem_of(line, number, record)
                if problem:
                    record = {}
                elif total < RECORDS:
                    seen.update(record)
            for field, column, read in cells:
                column.append(read(record.get(field)))
            columns[LINE].append(number)
            columns[PROBLEM].append(problem)
            total += 1
            if total % RECORDS == 0:
                yield sheet()
    if columns[LINE]:
        yield sheet()
    if not total:
        raise ValueError(f"{name}: has no records; give a file with data")


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value if value.isascii() else _whole_characters(value)
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return " ".join(filter(None, map(_text, value)))
    return str(value)


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def decoded(items: pl.DataFrame, name: str, kept: Sequence[str], fix: str) -> pl.DataFrame:
    """Give fields that `read_records` kept as JSON text the type of their values in all records.

    Text beside numbers makes text. Raises ValueError that names the file and the field when no
    one type holds all values, such as an object beside a number.
    """
    for field in kept:
        try:
            values = items[field].str.json_decode(infer_schema_length=None)
        except pl.exceptions.PolarsError:
            raise ValueError(
                f"{name}: column {field} has values of types that cannot be one column; {fix}"
            ) from None
        if values.dtype == pl.Null:
            values = values.cast(pl.String)
        items = items.with_columns(values.alias(field))
    return items


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
