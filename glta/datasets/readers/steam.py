"""Steam (UCSD, version 2): reviews and games, one Python literal a line, gzip."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.json_lines import parse_literal, read_records
from glta.io.raw import CheckedTable, Raw, check_interactions, check_items, join_items
from glta.io.sheets import PROBLEM
from glta.io.streams import blocks


def read_steam(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read who reviewed which game on what day; there are no ratings.

    Games without an id are left out, as nobody can have reviewed them.
    """
    path = folder / dataset.files["interactions"].name
    reviews = read_records(
        blocks(path), path.name, parse_literal, ids=["username", "product_id"], texts=["date"]
    )
    seconds = pl.col("date").str.to_datetime("%Y-%m-%d", strict=False).dt.epoch("s")
    # a date that cannot be read stays as it is, so that the check names it
    date = pl.coalesce(seconds.cast(pl.String), "date").alias("date")
    interactions = check_interactions(
        (review.with_columns(date) for review in reviews),
        path.name,
        max_bad_share=max_bad_share,
        columns={"user": "username", "item": "product_id", "rating": None, "timestamp": "date"},
    )
    used = interactions.rows.select("item_id").unique()
    path = folder / dataset.files["items"].name
    return join_items(interactions, read_games(path, max_bad_share, used), path.name)


def read_games(path: Path, max_bad_share: float, only: pl.DataFrame) -> CheckedTable:
    """Read the games. only: a column item_id with the items to keep."""
    games = read_records(
        blocks(path),
        path.name,
        parse_literal,
        texts=["id", "title", "app_name"],
        lists=["genres", "tags"],
    )
    has_id = pl.col("id").is_not_null() | pl.col(PROBLEM).is_not_null()
    title = pl.coalesce("title", "app_name").alias("title")
    categories = pl.concat_list("genres", "tags").alias("categories")
    return check_items(
        (game.filter(has_id).with_columns(title, categories) for game in games),
        path.name,
        max_bad_share=max_bad_share,
        columns={
            "item": "id",
            "title": "title",
            "description": None,
            "categories": "categories",
        },
        only=only,
    )
