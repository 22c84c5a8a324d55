"""UCSD Goodreads (Book Graph) by genre: interactions, books, and genres, JSON lines, gzip."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.json_lines import parse_json, read_records
from glta.io.raw import Raw, check_interactions, check_items, join_items
from glta.io.sheets import good_rows
from glta.io.streams import blocks

TIME = "%a %b %d %H:%M:%S %z %Y"  # Fri Apr 19 08:15:15 -0700 2013


def read_goodreads(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read every book that a user put on a shelf, read or not.

    A rating of 0 means that there is none. Categories are the owners' genres. The shelves of users
    are left out, as they tell who has read what.
    """
    path = folder / dataset.files["interactions"].name
    shelved = read_records(
        blocks(path),
        path.name,
        parse_json,
        ids=["user_id", "book_id"],
        texts=["rating", "date_added"],
    )
    rating = pl.col("rating").replace("0", None)
    seconds = pl.col("date_added").str.to_datetime(TIME, strict=False).dt.epoch("s")
    # a time that cannot be read stays as it is, so that the check names it
    time = pl.coalesce(seconds.cast(pl.String), "date_added").alias("date_added")
    interactions = check_interactions(
        (sheet.with_columns(rating, time) for sheet in shelved),
        path.name,
        max_bad_share=max_bad_share,
        columns={
            "user": "user_id",
            "item": "book_id",
            "rating": "rating",
            "timestamp": "date_added",
        },
    )
    used = interactions.rows.select("item_id").unique()

    path = folder / dataset.files["genres"].name
    records = read_records(blocks(path), path.name, parse_json, ids=["book_id"], lists=["genres"])
    genres = (
        good_rows(records, path.name, max_bad_share)
        .join(used, left_on="book_id", right_on="item_id", how="semi")
        .unique("book_id", keep="first")
    )

    path = folder / dataset.files["items"].name
    books = read_records(
        blocks(path), path.name, parse_json, ids=["book_id"], texts=["title", "description"]
    )
    items = check_items(
        (book.join(genres, on="book_id", how="left", maintain_order="left") for book in books),
        path.name,
        max_bad_share=max_bad_share,
        columns={
            "item": "book_id",
            "title": "title",
            "description": "description",
            "categories": "genres",
        },
        only=used,
    )
    return join_items(interactions, items, path.name)
