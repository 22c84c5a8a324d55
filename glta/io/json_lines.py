"""Files with one record a line to sheets: JSON, or the Python literals of older datasets."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson
import polars as pl

from glta.io.sheets import LINE, PROBLEM, need_columns
from glta.io.streams import DOWNLOAD_AGAIN, NoRows
from glta.io.values import shown, whole_characters

Parse = Callable[[bytes], Any]
Convert = Callable[[Any], Any]
SHEET_ROWS = 50_000  # records of one sheet
ID_TYPES: dict[type, str] = {str: "text", int: "a number"}  # and how errors name them


def parse_json(line: bytes) -> Any:
    """Parse a line of JSON; a field that occurs twice has its last value. Raises ValueError."""
    return orjson.loads(line)


def parse_literal(line: bytes) -> Any:
    """Parse a line of JSON or a Python literal; no code is run. Raises ValueError."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            return ast.literal_eval(line.decode("utf-8").strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise ValueError(f"nor a Python literal ({error})") from None


def parse_lenient(line: bytes) -> Any:
    """Parse a line of JSON in which NaN may stand for no value. Raises ValueError."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in line:
            raise ValueError(f"{error}; write one object a line, or a list of objects") from None
        return json.loads(line, parse_constant=lambda word: None if word == "NaN" else float(word))


def lines_of_array(text: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the elements of a JSON list, each in one line, with its number in the list.

    text: of the whole file. name: of the file, for errors. Raises ValueError when it is no list.
    """
    try:
        content = text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + text.count(b"\n", 0, error.start)
        raise ValueError(f"{name} line {line}: is not UTF-8; save the file as UTF-8") from None
    decoder = json.JSONDecoder()
    place = _next(content, content.index("[") + 1)
    number = 0
    try:
        while content[place : place + 1] != "]":
            _, end = decoder.raw_decode(content, place)
            number += 1
            # no string of JSON holds a line end, so those within an element say nothing
            yield number, content[place:end].replace("\n", " ").encode()
            place = _next(content, end)
            if content[place : place + 1] == ",":
                place = _next(content, place + 1)
            elif content[place : place + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' or ']'", content, place)
        if rest := content[place + 1 :].strip():
            raise json.JSONDecodeError(f"Extra data {shown(rest)}", content, place + 1)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{name} line {error.lineno}: is not JSON ({error.msg}); correct it, or write one "
            "object a line"
        ) from None


def _next(content: str, place: int) -> int:
    """Return the place of the first character from `place` on that is no blank."""
    while content[place : place + 1].isspace():
        place += 1
    return place


QUOTES: dict[Parse, tuple[bytes, ...]] = {  # what may stand around the name of a field
    parse_json: (b'"',),
    parse_lenient: (b'"',),
    parse_literal: (b'"', b"'"),
}


def read_records(
    lines: Iterable[tuple[int, bytes]],
    name: str,
    parse: Parse,
    *,
    ids: Sequence[str] = (),
    texts: Sequence[str] = (),
    lists: Sequence[str] = (),
    kept: Sequence[str] = (),
    converted: Mapping[str, tuple[Convert, pl.DataType]] = MappingProxyType({}),
    fixes: Mapping[str, str] = MappingProxyType({}),
    again: str = DOWNLOAD_AGAIN,
    needed: Collection[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """Read the lines of a file as sheets that have the given fields as columns.

    lines: as `glta.io.streams.blocks` yields them. name: of the file, for errors. parse:
    `parse_json` or `parse_literal`.
    ids: fields that every record must have, text or whole numbers, of one type in the whole file.
    texts: fields to read as text, numbers too; the parts of a list are joined by spaces.
    lists: fields to read as lists of text; nested lists are made flat, an object gives its keys.
    kept: fields of any type, to read as their JSON text; `decoded` turns that into values.
    converted: by field, what turns its value (None where a record lacks it) into that of a cell,
    and the type of the cells; a ValueError of it says what is wrong with the value.
    fixes: by field, what to do when no record has it. again: what to do for the other fields.
    needed: the fields that must be there; None: all. The sheets lack the others of which no record
    of the first sheet has any.

    A bad line is marked in PROBLEM. Raises ValueError for a needed field that none of the records
    of the first sheet has, and NoRows for a file without records.
    """
    check = _RecordCheck(parse, ids=ids, singles=(*ids, *texts, *kept, *converted), lists=lists)
    readers: dict[str, Convert] = {
        **dict.fromkeys((*ids, *texts), _text),
        **dict.fromkeys(lists, _list),
        **dict.fromkeys(kept, _json),
        **{field: convert for field, (convert, _) in converted.items()},
    }
    columns: dict[str, list] = {column: [] for column in (*readers, LINE, PROBLEM)}
    cells = [(field, columns[field], read) for field, read in readers.items()]
    schema = (
        dict.fromkeys((*ids, *texts), pl.String())
        | dict.fromkeys(lists, pl.List(pl.String))
        | dict.fromkeys(kept, pl.String())
        | {field: dtype for field, (_, dtype) in converted.items()}
        | {LINE: pl.Int64(), PROBLEM: pl.String()}
    )
    seen: set[str] = set()  # names of all fields in the records of the first sheet

    def sheet() -> pl.DataFrame:
        # Where no record could be read, no field is known; the error about the first bad line then
        # says more than one about a missing field.
        if seen:
            found = pl.DataFrame(schema=dict.fromkeys(sorted(seen), pl.String))
            must = [field for field in readers if needed is None or field in needed]
            need_columns(found, name, {field: fixes.get(field, again) for field in must})
        full = pl.DataFrame(columns, schema=schema)
        if seen and needed is not None:
            full = full.drop(field for field in readers if field not in {*seen, *needed})
        for column in columns.values():
            column.clear()
        return full

    total = 0
    for first, block in lines:
        for number, line in enumerate(block.split(b"\n"), first):
            if not line.strip():
                continue
            record, problem = check.parsed(line, number)
            if problem is None and total < SHEET_ROWS:
                seen.update(record)
            for field, column, read in cells:
                try:
                    column.append(read(record.get(field)))
                except ValueError as error:
                    column.append(None)
                    if problem is None:
                        problem = f"column {field} = {shown(record[field])}: {error}"
            columns[LINE].append(number)
            columns[PROBLEM].append(problem)
            total += 1
            if total % SHEET_ROWS == 0:
                yield sheet()
    if columns[LINE]:
        yield sheet()
    if not total:
        raise NoRows(f"{name}: has no records; give a file with data")


class _RecordCheck:
    """Parse the lines of one file, and find what is wrong with them.

    ids: fields that every record must have. singles: fields that must not occur twice, ids too.
    lists: further fields. A list that occurs twice is looked for only in lines in which the name of
    a single field does.
    """

    def __init__(
        self, parse: Parse, *, ids: Sequence[str], singles: Sequence[str], lists: Sequence[str]
    ):
        self.parse = parse
        self.ids = ids
        self.wanted = {*singles, *lists}
        self.quoted = [
            quote + field.encode() + quote for field in singles for quote in QUOTES[parse]
        ]
        self.id_types: list[type] = []  # as the first good line has them
        self.first_good = 0  # number of that line

    def parsed(self, line: bytes, number: int) -> tuple[dict[str, Any], str | None]:
        """Return the record of a line and None; or no fields and what is wrong with the line."""
        try:
            record = self.parse(line)
        except ValueError as error:
            return {}, f"is not JSON ({error})"
        is_alike = type(record) is dict and self._types_of_ids(record) == self.id_types
        if is_alike and not self._may_repeat(line):
            return record, None  # nearly every line; the full check is slow
        problem = self._problem_of(line, number, record)
        return ({}, problem) if problem else (record, None)

    def _types_of_ids(self, record: dict[str, Any]) -> list[type]:
        return [type(record.get(field)) for field in self.ids]

    def _may_repeat(self, line: bytes) -> bool:
        """Tell whether the name of a field occurs twice in a line, anywhere."""
        return any(line.count(quoted) > 1 for quoted in self.quoted)

    def _problem_of(self, line: bytes, number: int, record: Any) -> str | None:
        if not isinstance(record, dict):
            return "is no record with named fields"
        if self._may_repeat(line):
            repeated = _repeated_names(line) & self.wanted
            if repeated:
                return f"has the field {min(repeated)} twice"
        for place, field in enumerate(self.ids):
            value = record.get(field)
            if value is None:
                found = ", ".join(record)
                return f"column {field}: is missing; every line needs it (this one has {found})"
            if type(value) not in ID_TYPES:
                return f"column {field} = {shown(value)}: must be text or a whole number"
            if self.id_types and type(value) is not self.id_types[place]:
                here = ID_TYPES[type(value)]
                there = ID_TYPES[self.id_types[place]]
                return (
                    f"column {field} = {value}: is {here}, but {there} in line {self.first_good}; "
                    "write ids alike"
                )
        if not self.id_types:
            self.id_types = self._types_of_ids(record)
            self.first_good = number
        return None


def _text(value: Any) -> str | None:
    """Return a value as text, the parts of a list joined by spaces."""
    if isinstance(value, str):
        return whole_characters(value)
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return " ".join(filter(None, map(_text, value)))
    return str(value)


def _json(value: Any) -> str | None:
    """Return a value as JSON text."""
    return None if value is None else orjson.dumps(value).decode()


def decoded(items: pl.DataFrame, name: str, kept: Sequence[str], *, fix: str) -> pl.DataFrame:
    """Turn the JSON text of kept fields into values, of one type for each field.

    The type is the one that holds the values of all records; text beside numbers makes text. name:
    of the file, and fix: what to do, for errors. Raises ValueError that names the file and the
    field when no type holds all values, such as an object beside a number.
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
    """Return a value as a flat list of texts; an object gives its keys."""
    if isinstance(value, list | tuple | dict):
        return [text for part in value for text in _list(part)]
    text = _text(value)
    return [] if text is None else [text]


def _repeated_names(line: bytes) -> set[str]:
    """Return the names that occur more than once in the outermost object of a line."""
    objects: list[list[str]] = []
    try:
        json.loads(
            line, object_pairs_hook=lambda pairs: objects.append([name for name, _ in pairs])
        )
        names = objects[-1]  # the outermost object ends last
    except ValueError:
        tree = ast.parse(line.decode("utf-8").strip(), mode="eval").body
        assert isinstance(tree, ast.Dict)  # as `parse_literal` has read a dict from it
        keys = [key for key in tree.keys if isinstance(key, ast.Constant)]
        names = [key.value for key in keys if isinstance(key.value, str)]
    return {name for name in names if names.count(name) > 1}
