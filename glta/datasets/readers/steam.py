"""Steam (UCSD, version 2): reviews and games as Python literals, a record a line, gzip."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.cells import PROBLEM
from glta.io.raw import Raw, interactions_of, items_of, join
from glta.io.records import parse_literal, read_records
from glta.io.streams import blocks


def read(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read who reviewed which game on what day; there are no ratings.

    Games without an id cannot be reviewed: left out.
    """
    name = dataset.files["interactions"].name
    reviews = read_records(
        blocks(folder / name), name, parse_literal, ["username", "product_id"], ["date"]
    )
    day = pl.coalesce(
        pl.col("date").str.to_datetime("%Y-%m-%d", strict=False).dt.epoch("s").cast(pl.String),
        "date",
    )
    named = {"user": "username", "item": "product_id", "rating": None, "timestamp": "date"}
    sheets = (sheet.with_columns(day.alias("date")) for sheet in reviews)
    interactions = interactions_of(sheets, name, max_bad_share, named)

    used = interactions.interactions.select("item_id").unique()
    name = dataset.files["items"].name
    return join(interactions, read_games(folder / name, max_bad_share, used), name)


def read_games(path: Path, max_bad_share: float, only: pl.DataFrame) -> Raw:
    """Read the games; only: a frame of the item_ids to keep."""
    texts, lists = ["id", "title", "app_name"], ["genres", "tags"]
    games = read_records(blocks(path), path.name, parse_literal, [], texts, lists)
    known = pl.col("id").is_not_null() | pl.col(PROBLEM).is_not_null()
    title = pl.coalesce("title", "app_name").alias("title")
    words = pl.concat_list(lists).alias("categories")
    sheets = (game.filter(known).with_columns(title, words) for game in games)
    named = {"item": "id", "title": "title", "description": None, "categories": "categories"}
    return items_of(sheets, path.name, max_bad_share, named, only=only)
