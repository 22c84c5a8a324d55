"""Lists of ids as LightGCN publishes them: a line is a user and their items, a file is a part."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.raw import PARTS, CheckedTable, Raw, join_items, refuse_shared_pairs
from glta.io.sheets import LINE, PROBLEM, BadRows, mark, read_csv
from glta.io.streams import blocks


def read_id_lists(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the parts of a split: train, test and, where there is one, valid.

    Users without items in a part may be listed there or not. Raises ValueError for an id that is no
    whole number, for a user with two lines in one file, and for a pair that is in two parts.
    """
    return join_items(read_parts(folder, dataset, max_bad_share), None, dataset.name)


def read_parts(folder: Path, dataset: Dataset, max_bad_share: float) -> CheckedTable:
    """Read the interactions of all parts, as `read_id_lists` does, without items."""
    parts = []
    num_rows = 0
    num_bad = 0
    for role, number in PARTS.items():
        if role not in dataset.files:
            continue
        pairs, bad = _read_part(folder / dataset.files[role].name, max_bad_share)
        parts.append(pairs.with_columns(pl.lit(number, pl.Int8).alias("part")))
        num_rows += pairs.height + bad
        num_bad += bad
    pairs = pl.concat(parts)
    refuse_shared_pairs(pairs, dataset.name)
    no_rating = pl.lit(None, pl.Float64).alias("rating")
    no_time = pl.lit(None, pl.Int64).alias("timestamp")
    return CheckedTable(
        pairs.select("user_id", "item_id", no_rating, no_time, "part"),
        {"interaction_rows": num_rows, "bad_interaction_rows": num_bad},
    )


def _read_part(path: Path, max_bad_share: float) -> tuple[pl.DataFrame, int]:
    """Return the pairs of one file, and the number of its bad lines."""
    parts = []
    # no line holds the character \0, so each line is one cell
    lines = read_csv(blocks(path), path.name, columns=["line"], separator="\0", quote=None)
    for sheet in lines:
        ids = pl.col("line").str.extract_all(r"\S+").alias("ids")
        listed = sheet.select(ids, LINE, PROBLEM).filter(pl.col("ids").list.len() > 0)
        is_wrong = ~pl.element().str.contains(r"^\d+$")
        wrong = pl.col("ids").list.eval(pl.element().filter(is_wrong)).list.first()
        problem = pl.format("id {}: must be a whole number", wrong)
        listed = mark(listed, pl.when(wrong.is_not_null()).then(problem))
        user = pl.col("ids").list.first().alias("user_id")
        items = pl.col("ids").list.slice(1).alias("item_id")
        parts.append(listed.select(user, items, LINE, PROBLEM))
    users = pl.concat(parts)
    first = pl.col(LINE).min().over("user_id")
    again = pl.col(PROBLEM).is_null() & (pl.col(LINE) > first)
    problem = pl.format("user {}: has a line already (line {})", "user_id", first)
    users = mark(users, pl.when(again).then(problem))
    bad_rows = BadRows(path.name, max_bad_share)
    good = bad_rows.drop(users)
    bad_rows.check()
    return good.explode("item_id").drop_nulls("item_id"), bad_rows.num_bad
