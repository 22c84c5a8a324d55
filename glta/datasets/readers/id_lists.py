"""Lists of ids as LightGCN publishes them: a line is a user and their items, one file each part of
a fixed split.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.cells import LINE, PROBLEM, Sieve, mark, read_csv
from glta.io.raw import PARTS, Raw, join, refuse_shared_pairs
from glta.io.streams import blocks


def read(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read train, test and, where there is one, valid. Users without items in a part may be listed
    there or not.

    Raises ValueError for an id that is no whole number, for a user with two lines in a file, and
    for a pair that is in two.
    """
    parts, counts = [], {"interaction_rows": 0, "bad_interaction_rows": 0}
    for role, part in PARTS.items():
        if role in dataset.files:
            pairs, bad = _read_part(folder / dataset.files[role].name, max_bad_share)
            parts.append(pairs.with_columns(pl.lit(part, pl.Int8).alias("part")))
            counts["interaction_rows"] += pairs.height + bad
            counts["bad_interaction_rows"] += bad
    pairs = pl.concat(parts)
    refuse_shared_pairs(pairs, dataset.name)
    empty = pl.lit(None, pl.Float64).alias("rating"), pl.lit(None, pl.Int64).alias("timestamp")
    interactions = pairs.select("user_id", "item_id", *empty, "part")
    return join(Raw(interactions, pl.DataFrame(), counts), None, dataset.name)


def _read_part(path: Path, max_bad_share: float) -> tuple[pl.DataFrame, int]:
    """Return the pairs of a file, and the number of its bad lines."""
    sieve, parts = Sieve(path.name, max_bad_share), []
    for sheet in read_csv(blocks(path), path.name, ["line"], "\0", None):
        ids = sheet.select(
            pl.col("line").str.extract_all(r"\S+").alias("ids"), LINE, PROBLEM
        ).filter(pl.col("ids").list.len() > 0)
        wrong = (
            pl.col("ids")
            .list.eval(pl.element().filter(~pl.element().str.contains(r"^\d+$")))
            .list.first()
        )
        ids = mark(ids, wrong.is_not_null(), pl.format("id {}: must be a whole number", wrong))
        parts.append(
            ids.select(
                pl.col("ids").list.first().alias("user_id"),
                pl.col("ids").list.slice(1).alias("item_id"),
                LINE,
                PROBLEM,
            )
        )
    users = pl.concat(parts)
    first = pl.col(LINE).min().over("user_id")
    again = pl.col(PROBLEM).is_null() & (pl.col(LINE) > first)
    users = mark(users, again, pl.format("user {}: has a line already (line {})", "user_id", first))
    good = sieve.sift(users)
    sieve.check()
    return good.explode("item_id").drop_nulls("item_id"), sieve.bad
