"""goodbooks-10k, the first edition (one million ratings) and the second (six million): CSV
files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.cells import read_csv, whole
from glta.io.raw import Raw, interactions_of, items_of, join
from glta.io.streams import blocks

TAGS = 10  # of a book, the most frequent
ROLES = ("ratings", "books", "book_tags", "tags")
STATUS = [
    "to-read",
    "currently-reading",
    "books-i-own",
    "owned",
    "favorites",
    "default",
    "my-books",
    "wish-list",
    "library",
]


def read_v1(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the first edition, in which a book's number is `id` and `book_id` is that of
    Goodreads.
    """
    archive = folder / dataset.file.name
    return _read({role: (archive, f"{role}.csv") for role in ROLES}, "id", "book_id", max_bad_share)


def read_v2(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the second edition, in which a book's number is `book_id` everywhere."""
    files = {role: (folder / dataset.files[role].name,) for role in ROLES}
    return _read(files, "book_id", "goodreads_book_id", max_bad_share)


def _read(files: dict[str, tuple], number: str, goodreads: str, share: float) -> Raw:
    def sheets(role: str) -> Iterator[pl.DataFrame]:
        path, *member = files[role]
        return read_csv(blocks(path, *member, quote=b'"'), f"{role}.csv")

    named = {"user": "user_id", "item": "book_id", "rating": "rating", "timestamp": None}
    interactions = interactions_of(sheets("ratings"), "ratings.csv", share, named)
    tags, counted = (whole(sheets(role), f"{role}.csv", share) for role in ("tags", "book_tags"))
    frequent = (
        counted.join(tags, on="tag_id")
        .filter(~pl.col("tag_name").is_in(STATUS))
        .sort(pl.col("count").cast(pl.Int64, strict=False), "tag_name", descending=[True, False])
        .group_by("goodreads_book_id", maintain_order=True)
        .agg(pl.col("tag_name").head(TAGS).alias("tags"))
        .rename({"goodreads_book_id": goodreads})
    )
    books = (
        sheet.join(frequent, on=goodreads, how="left", maintain_order="left")
        for sheet in sheets("books")
    )
    named = {"item": number, "title": "title", "description": "authors", "categories": "tags"}
    return join(interactions, items_of(books, "books.csv", share, named), "books.csv")
