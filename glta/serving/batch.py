"""Recommend to all users of a Parquet file, block by block; an interrupted run goes on."""

# B users of a block, K list length
from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

import polars as pl

from glta.progress import bar
from glta.serving.answers import Answer
from glta.serving.bundle import Bundle
from glta.storage.files import sha256_of, write_json
from glta.storage.tables import write_table

JOB = "job.json"
COLUMNS = {
    "user_id": pl.String,
    "rank": pl.Int32,
    "item_id": pl.String,
    "score": pl.Float32,
    "way": pl.String,
}


def recommend_to_file(
    bundle: Bundle,
    users: Path,
    out: Path,
    k: int = 10,
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    block: int = 1000,
) -> int:
    """Write the lists of all users of a file into a Parquet file. Returns the number of users.

    Columns of the result: user_id, rank (1 is best), item_id, score, way; in the order of `users`.
    users: a Parquet file with the column user_id (text), and perhaps items (lists of text): what
        the user has, oldest first. A user with items is scored by their own items and these, as
        `Answers.compute` does.
    only, without: see `Answers.recommend`. block: users of a block.
    Each block is a file in the folder OUT.parts until all are done. After an interruption, the same
    call keeps those that are there. Equal calls give equal bytes, interrupted or not.
    Raises FileNotFoundError, and ValueError for a file of another form.
    """
    table = _read(users)
    parts = out.with_name(f"{out.name}.parts")
    job = {
        "bundle": bundle.about.digest,
        "users": sha256_of(users),
        "k": k,
        "only": None if only is None else sorted(only),
        "without": sorted(without),
        "block": block,
    }
    _begin(parts, job)
    starts = range(0, table.height, block)
    with bar(table.height, "users") as advance:
        for start in starts:
            rows = table.slice(start, block)
            part = parts / f"{start:012}.parquet"
            if not part.exists():
                lists = _lists(bundle, rows, k, only, without)
                write_table(part, _frame(rows["user_id"], lists))
            advance(rows.height)
    whole = [pl.read_parquet(parts / f"{start:012}.parquet") for start in starts]
    write_table(out, pl.concat([pl.DataFrame(schema=COLUMNS), *whole]))
    shutil.rmtree(parts)
    return table.height


def _read(users: Path) -> pl.DataFrame:
    """Read the users. Raises ValueError for a file of another form."""
    if not users.is_file():
        raise FileNotFoundError(f"{users}: no such file")
    try:
        table = pl.read_parquet(users)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{users}: not readable as Parquet ({error})") from None
    if table.schema.get("user_id") != pl.String:
        raise ValueError(f"{users}: needs a column user_id of text")
    if table["user_id"].null_count():
        raise ValueError(f"{users}: user_id must not be null; take these rows out")
    kind = table.schema.get("items")
    if kind not in (None, pl.List(pl.String)):
        raise ValueError(f"{users}: the column items must hold lists of text, not {kind}")
    return table.select(pl.col("^(user_id|items)$"))


def _begin(parts: Path, job: dict) -> None:
    """Make the folder of the blocks. Blocks of another job are deleted."""
    key = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
    note = parts / JOB
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) == {"job": key}:
        return
    if parts.exists() and not note.exists() and any(parts.iterdir()):
        raise ValueError(f"{parts}: is no folder of `glta bundle batch`; name another OUT")
    shutil.rmtree(parts, ignore_errors=True)
    write_json(note, {"job": key})


def _lists(
    bundle: Bundle,
    rows: pl.DataFrame,
    k: int,
    only: Collection[str] | None,
    without: Collection[str],
) -> Iterator[Answer]:
    """Yield the lists of the users of a block, in their order."""
    given = rows["items"].to_list() if "items" in rows.columns else [None] * rows.height
    names = rows["user_id"].to_list()
    together = [
        user
        for user, items in zip(names, given, strict=True)
        if not items and bundle.ranks_by_data(user)
    ]
    known = dict(zip(together, bundle.lists(together, k, only=only, without=without), strict=True))
    for user, items in zip(names, given, strict=True):
        if not items and user in known:
            yield known[user]
        else:
            yield bundle.compute(user, items or (), k, only=only, without=without)


def _frame(users: pl.Series, lists: Iterator[Answer]) -> pl.DataFrame:
    rows = [
        (user, rank, item, score, found.way)
        for user, found in zip(users, lists, strict=True)
        for rank, (item, score) in enumerate(zip(found.items, found.scores, strict=True), 1)
    ]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")
