"""UCSD Goodreads (Book Graph), by genre: interactions, books, and genres of all books; JSON lines,
gzip.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.cells import whole
from glta.io.raw import Raw, interactions_of, items_of, join
from glta.io.records import parse_json, read_records
from glta.io.streams import blocks

TIME = "%a %b %d %H:%M:%S %z %Y"  # Fri Apr 19 08:15:15 -0700 2013


def read(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read every book that a user put on a shelf, read or not; a rating of 0 says that there is
    none.

    Categories are the owners' genres. The shelves themselves are left out: they tell who has read
    what.
    """

    def records(
        role: str, texts: list[str], lists: list[str], ids: list[str]
    ) -> Iterator[pl.DataFrame]:
        name = dataset.files[role].name
        return read_records(blocks(folder / name), name, parse_json, ids, texts, lists)

    rating = pl.col("rating").replace("0", None)
    time = pl.coalesce(
        pl.col("date_added").str.to_datetime(TIME, strict=False).dt.epoch("s").cast(pl.String),
        "date_added",
    )
    shelved = records("interactions", ["rating", "date_added"], [], ["user_id", "book_id"])
    sheets = (sheet.with_columns(rating, time.alias("date_added")) for sheet in shelved)
    named = {"user": "user_id", "item": "book_id", "rating": "rating", "timestamp": "date_added"}
    name = dataset.files["interactions"].name
    interactions = interactions_of(sheets, name, max_bad_share, named)
    used = interactions.interactions.select("item_id").unique()

    genres = whole(
        records("genres", [], ["genres"], ["book_id"]), dataset.files["genres"].name, max_bad_share
    )
    genres = genres.join(used, left_on="book_id", right_on="item_id", how="semi").unique(
        "book_id", keep="first"
    )
    books = records("items", ["title", "description"], [], ["book_id"])
    sheets = (
        sheet.join(genres, on="book_id", how="left", maintain_order="left") for sheet in books
    )
    named = {
        "item": "book_id",
        "title": "title",
        "description": "description",
        "categories": "genres",
    }
    name = dataset.files["items"].name
    return join(interactions, items_of(sheets, name, max_bad_share, named, only=used), name)
