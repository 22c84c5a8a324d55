"""Random tables of the user are read as a second, plain reader reads them, or refused in a line."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import zipfile
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glta.datasets.readers import read_dataset
from glta.datasets.settings import TableSettings
from glta.io import json_lines, parquet, streams
from glta.params.model import Params
from pipeline.stages import download, prepare
from tests.datasets import independent
from tests.datasets.independent import Bad

CASES = 125  # of each of the SEEDS: 2,000 together
SEEDS = 16
SEPARATORS = [",", ",", "\t", ";", "|", "::"]
WORDS = [
    "Drama",
    "War & Peace",
    "Nan",
    "None",
    "Zoë",
    "用户",
    "a,b",
    "x;y",
    'said "so"',
    "5",
    " pad ",
]
IDS: dict[str, list[Any]] = {
    "ints": [1, 2, 30, 2**40, 2**62 + 1, 0],
    "texts": ["u1", "007", "1e5", "Zoë", "用户1", "a b", "na", "Nan", "-3", "x,y", "a;b", 'q"q'],
    "digits": ["1", "2", "30", "0042", "18446744073709551616"],
}
DATES = [datetime(2020, 1, 2, 3, 4, 5, 678901), datetime(1969, 12, 31, 23, 59, 59, 500)]
PACKED = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": partial(lzma.compress, preset=0),
}


@dataclass
class Case:
    """Hold one written file, what the independent reader makes of it, and its entry's values."""

    name: str
    content: bytes
    rows: list[dict[str, Any]] | None  # None: must be refused
    entry: dict[str, Any]


def a_log(rng: random.Random, items: list[Any], users: list[Any]) -> list[dict[str, Any]]:
    ratings = rng.choice([[1, 2, 5], [0.5, 3.5, 1e-3], ["4", " 5 ", "1e1"], [None, 4], [7, "NULL"]])
    times = rng.choice(
        [
            [1_600_000_000, 5, None],
            [1_600_000_000_123, 2**61 + 1],
            [1.5, 2.0, -0.5],
            [
                "2020-01-02",
                "2020-01-02T03:04:05Z",
                "2020-01-02 03:04",
                "2021-12-31 23:59:59.123456+02:00",
            ],
            ["2020-01-02T03:04:05-0330", "\\N", "1969-12-31T23:59:59.9"],
        ]
    )
    odd = rng.random()
    log = [
        {
            "user_id": rng.choice(users),
            "item_id": rng.choice(items),
            "rating": rng.choice(ratings),
            "timestamp": rng.choice(times),
        }
        for _ in range(rng.randint(1, 6))
    ]
    broken = rng.choice(log)
    if odd < 0.06:
        broken["user_id"] = rng.choice([None, "", "NULL", "\\N", "NA", "  ", "nan"])
    elif odd < 0.12:
        broken["rating"] = rng.choice(["good", "inf", "3,5", "1e400", "Nan", True])
    elif odd < 0.18:
        broken["timestamp"] = rng.choice(
            ["2020-02-30", "01/02/2020", "2020-01-02", 12, "yesterday"]
        )
    return log


def some_items(rng: random.Random, ids: list[Any], *, nested: bool) -> list[dict[str, Any]]:
    """nested: whether the form can hold lists and objects."""
    kinds = ["text", "text"] + ["list", "objects"] * nested
    kind = rng.choice(kinds)
    as_list = nested and rng.random() < 0.3

    def words(most: int) -> list[str]:
        return [rng.choice(WORDS) for _ in range(rng.randint(0, most))]

    def categories() -> Any:
        chosen = [word for word in words(3) if "|" not in word]
        if kind == "text":
            return "|".join(chosen) if rng.random() < 0.9 else rng.choice([None, "NULL"])
        if kind == "objects":
            return [{"id": k, "name": word} for k, word in enumerate(chosen)]
        return chosen

    rows = [
        {
            "item_id": item,
            "title": rng.choice([*WORDS, None, "NULL", "NA"]),
            "description": words(3) if as_list else rng.choice([*WORDS, None, "N/A", "two\nlines"]),
            "categories": categories(),
        }
        for item in ids
    ]
    if rng.random() < 0.04:
        rows.append(dict(rows[0]))
    return rows


def as_csv(rng: random.Random, rows: list[dict[str, Any]], key: str) -> Case:
    columns = list(rows[0])
    rng.shuffle(columns)
    if rng.random() < 0.3:
        columns.insert(rng.randint(0, len(columns)), "more")
    separator = rng.choice(SEPARATORS)
    stand_in = separator if len(separator) == 1 else "\x1f"
    has_header = rng.random() < 0.85
    out = io.StringIO()
    writer = csv.writer(
        out,
        delimiter=stand_in,
        quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        lineterminator=rng.choice(["\n", "\n", "\r\n"]),
    )
    recbole = separator == "\t" and rng.random() < 0.3
    if has_header:
        types = {"rating": "float", "timestamp": "float"}
        names = [f"{c}:{types.get(c, 'token')}" if recbole else c for c in columns]
        blank = " " * (rng.random() < 0.2)
        writer.writerow([name if k == 0 else blank + name for k, name in enumerate(names)])
    for row in rows:
        cells = ["x" if c == "more" else row[c] for c in columns]
        writer.writerow(["" if cell is None else cell for cell in cells])
    text = out.getvalue().replace("\x1f", separator)
    if rng.random() < 0.2:
        text = text.rstrip("\r\n")
    if has_header and rng.random() < 0.1:
        text = "\n" + text
    content = rng.choice([b"", b"", b"\xef\xbb\xbf"]) + text.encode()
    entry: dict[str, Any] = {}
    if not has_header:
        entry[f"{key}header"] = columns
        entry[f"{'items_' if key else ''}separator"] = separator
    try:
        found = independent.rows_of_csv(content, separator, None if has_header else columns)
    except Bad:
        found = None
    ending = rng.choice([".csv", ".tsv", ".txt", ".dat", ".inter"])
    return packed(rng, Case(f"t{ending}", content, found, entry))


def as_json(rng: random.Random, rows: list[dict[str, Any]], key: str) -> Case:
    if rng.random() < 0.3:
        rows = [{c: v for c, v in row.items() if v is not None} for row in rows]
        for column in ("rating", "timestamp", "title", "description", "categories"):
            rows[0].setdefault(column, None)  # a column that no record has is an error of its own
    ascii_only = rng.random() < 0.5
    if rng.random() < 0.3:
        indent = rng.choice([None, 1])
        text = json.dumps(rows, ensure_ascii=ascii_only, indent=indent)
    else:
        text = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    content = text.encode()
    ids = [row.get(c) for row in rows for c in row if c.endswith("_id")]
    by_column = [{type(row.get(c)) for row in rows} for c in ("user_id", "item_id") if c in rows[0]]
    refused = any(i is None for i in ids) or any(len(types) > 1 for types in by_column)
    found = None if refused else independent.rows_of_json(content)
    for row in found or []:
        if isinstance(row.get("rating"), bool):
            row["rating"] = b"refused"  # the plain reader takes True for a number otherwise
    name = rng.choice(["t.json", "t.jsonl", "t.ndjson", "t.txt"])
    return packed(rng, Case(name, content, found, {}))


def as_parquet(rng: random.Random, rows: list[dict[str, Any]], key: str) -> Case:
    arrays = {}
    for column in rows[0]:
        values = [row[column] for row in rows]
        arrays[column] = _array(rng, column, values)
    if rng.random() < 0.3:
        arrays["more"] = _unused(rng, len(rows))
    out = io.BytesIO()
    pq.write_table(pa.table(arrays), out, row_group_size=rng.choice([1, 2, 100]))
    content = out.getvalue()
    return Case("t.parquet", content, independent.rows_of_parquet(content), {})


def _array(rng: random.Random, column: str, values: list[Any]) -> pa.Array:
    """Return the values as an array of one of the types that can hold them."""
    whole = [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
    if column == "timestamp" and rng.random() < 0.3:
        unit = rng.choice(["s", "ms", "us", "ns"])
        zone = rng.choice([None, "UTC", "Europe/Berlin", "+05:30"])
        moments = [rng.choice([*DATES, None]) for _ in values]
        if unit == "s":
            moments = [m and m.replace(microsecond=0) for m in moments]
        if unit == "ms":
            moments = [m and m.replace(microsecond=m.microsecond // 1000 * 1000) for m in moments]
        return pa.array(moments, pa.timestamp(unit, tz=zone))
    if column == "timestamp" and rng.random() < 0.1:
        return pa.array([date(2020, 2, 29) for _ in values], rng.choice([pa.date32(), pa.date64()]))
    if column in ("rating", "user_id") and rng.random() < 0.05:
        kind = rng.choice([pa.bool_(), pa.binary(), pa.time64("us"), pa.list_(pa.int64())])
        fill = {pa.bool_(): True, pa.binary(): b"x", pa.time64("us"): 5}.get(kind, [1])
        return pa.array([fill for _ in values], kind)
    if len(whole) == sum(v is not None for v in values) and whole:
        types = [pa.int64()]
        if all(0 <= v < 2**31 for v in whole):
            types += [pa.uint32(), pa.int32(), pa.uint64(), pa.float64(), pa.decimal128(20, 0)]
            types += [pa.decimal128(20, 2), pa.string(), pa.large_string()]
        kind = rng.choice(types)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            values = [v if v is None else str(v) for v in values]
        if pa.types.is_decimal(kind):
            values = [v if v is None else Decimal(v) for v in values]
        return pa.array(values, kind)
    if all(v is None or isinstance(v, float) for v in values):
        return pa.array(values, pa.float64())
    if any(isinstance(v, list) for v in values):
        return pa.array(values)
    texts = pa.array([v if v is None else str(v) for v in values], pa.string())
    return texts.dictionary_encode() if rng.random() < 0.3 else texts


def _unused(rng: random.Random, size: int) -> pa.Array:
    """Return a column that nothing reads, of a type that has no text."""
    kinds = {
        pa.list_(pa.float32(), 2): [1.0, 2.0],
        pa.binary(): b"\xff",
        pa.time64("us"): 5,
        pa.duration("ms"): 7,
        pa.map_(pa.string(), pa.int64()): [("a", 1)],
        pa.decimal256(60, 3): Decimal("1.5"),
        pa.struct({"a": pa.int64()}): {"a": 1},
        pa.null(): None,
    }
    kind = rng.choice(list(kinds))
    return pa.array([kinds[kind]] * size, kind)


def packed(rng: random.Random, case: Case) -> Case:
    ending = rng.choice(["", "", "", *PACKED, ".zip"])
    if ending == ".zip":
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(f"inner/{case.name}", case.content)
        case.content = out.getvalue()
    else:
        case.content = PACKED[ending](case.content)
    case.name += ending
    return case


FORMS = [as_csv, as_csv, as_json, as_parquet]


def expected_of(log: Case, things: Case) -> tuple[list[tuple], list[tuple]]:
    """Return both tables as the independent reader has them. Raises Bad."""
    if log.rows is None or things.rows is None:
        raise Bad("cannot be cut")
    interactions = independent.interactions_of(log.rows)
    items = independent.items_of(things.rows, "|")
    known = {item for item, *_ in items}
    used = list(dict.fromkeys(item for _, item, *_ in interactions))
    if not known & set(used):
        raise Bad("other ids")
    return interactions, items + [(item, item, "", []) for item in used if item not in known]


def a_case(rng: random.Random) -> tuple[Case, Case]:
    items = rng.sample(IDS[rng.choice(list(IDS))], 4)
    users = IDS[rng.choice(list(IDS))]
    write_log = rng.choice(FORMS)
    write_items = rng.choice(FORMS)
    log = write_log(rng, a_log(rng, items, users), "")
    things = write_items(
        rng, some_items(rng, items[:3], nested=write_items is not as_csv), "items_"
    )
    return log, things


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_tables_are_read_as_the_plain_reader_reads_them(seed, tmp_path, monkeypatch):
    rng = random.Random(seed)
    num_read = 0
    for number in range(CASES):
        # large files are read in pieces; small pieces make small files large
        monkeypatch.setattr(streams, "BLOCK_BYTES", rng.choice([9, 60, *[1 << 25] * 4]))
        monkeypatch.setattr(json_lines, "SHEET_ROWS", rng.choice([1, *[50_000] * 4]))
        monkeypatch.setattr(parquet, "PARQUET_ROWS", rng.choice([2, *[1 << 20] * 4]))
        log, things = a_case(rng)
        (tmp_path / log.name).write_bytes(log.content)
        name = f"items-{things.name}" if things.name == log.name else things.name
        (tmp_path / name).write_bytes(things.content)
        entry = {"interactions": log.name, "items": things.name, **log.entry, **things.entry}
        where = (
            f"seed {seed}, case {number}: {entry}\n{log.content[:600]!r}\n{things.content[:600]!r}"
        )
        try:
            wanted = expected_of(log, things)
        except Bad as error:
            with pytest.raises(ValueError) as refusal:
                found = read_dataset("mine", {"mine": TableSettings(**entry)}, tmp_path)
                pytest.fail(f"{where}\nis read, but should not be ({error}): {found}")
            assert "\n" not in str(refusal.value), where
            assert log.name in str(refusal.value) or things.name in str(refusal.value), where
            continue
        try:
            raw = read_dataset("mine", {"mine": TableSettings(**entry)}, tmp_path)
        except ValueError as error:
            raise AssertionError(f"{where}\nis refused: {error}") from error
        assert raw.interactions.rows() == wanted[0], where
        assert raw.items.rows() == wanted[1], where
        num_read += 1
    assert num_read > CASES / 2


def a_matrix(rng: random.Random) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return interactions in which all have most items, so that a split has all of its parts."""
    users = rng.sample(IDS[rng.choice(["ints", "texts"])], 5)
    items = rng.sample(IDS[rng.choice(list(IDS))], 5)
    time = rng.choice([lambda k: 1_600_000_000 + k, lambda k: f"2020-01-{k % 28 + 1:02}T00:00:00Z"])
    pairs = [(user, item) for user in users for item in items]
    rng.shuffle(pairs)
    log = [
        {
            "user_id": user,
            "item_id": item,
            "rating": rng.choice([1, 2.5, None]),
            "timestamp": time(k),
        }
        for k, (user, item) in enumerate(pairs[:-1])
    ]
    return log, [{"item_id": item, "title": f"film {k}"} for k, item in enumerate(items)]


@pytest.mark.parametrize("seed", range(30))
def test_the_stage_prepare_keeps_what_the_plain_reader_reads(seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLTA_MIRROR", raising=False)
    rng = random.Random(seed)
    log, items = a_matrix(rng)
    of_log = rng.choice(FORMS)(rng, log, "")
    of_items = rng.choice(FORMS)(rng, items, "items_")
    entry = {"interactions": f"log/{of_log.name}", "items": f"things/{of_items.name}"}
    entry |= of_log.entry | of_items.entry | {"description": None, "categories": None}
    for place, case in (("log", of_log), ("things", of_items)):
        Path(place).mkdir()
        Path(place, case.name).write_bytes(case.content)
    params = Params.model_validate(
        {
            "datasets": ["mine"],
            "tables": {"mine": entry},
            "prepare": {"user_core": 1, "item_core": 1, "valid_share": 0.2, "test_share": 0.2},
        }
    )
    download.main(params, "mine")
    try:
        wanted = independent.interactions_of(of_log.rows or [])
    except Bad:  # a column was written with a type that cannot be an id or a rating
        with pytest.raises(ValueError, match=r"column (user_id|rating) is of type"):
            prepare.main(params, "mine", 0)
        return
    prepare.main(params, "mine", 0)
    folder = Path("data/mine/0/prepare")
    parts = pl.concat(
        pl.read_parquet(folder / f"{part}.parquet", columns=["user", "item", "rating", "timestamp"])
        for part in ("train", "valid", "test")
    )
    users = pl.read_parquet(folder / "users.parquet")
    titled = pl.read_parquet(folder / "items.parquet")
    found = parts.join(users, on="user").join(titled, on="item")
    rows = found.select("user_id", "item_id", "rating", "timestamp").rows()
    assert sorted(rows, key=str) == sorted(wanted, key=str)
    titles = {row["item_id"]: row["title"] for row in titled.to_dicts()}
    assert titles == {
        item: title for item, title, *_ in independent.items_of(of_items.rows or [], "|")
    }
