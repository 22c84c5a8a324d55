"""goodbooks-10k: CSV files of two editions, with one million and six million ratings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.raw import Raw, check_interactions, check_items, join_items
from glta.io.sheets import good_rows, read_csv
from glta.io.streams import blocks

MAX_TAGS = 10  # of a book, the most frequent ones
ROLES = ("ratings", "books", "book_tags", "tags")
# Tags that say what a user did with a book, not what the book is.
STATUS_TAGS = [
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
    """Read the first edition, one archive.

    In books.csv a book's number is `id`, and `book_id` is the number that Goodreads gives it.
    """
    archive = folder / dataset.file.name
    files = {role: (archive, f"{role}.csv") for role in ROLES}
    return _read_goodbooks(files, max_bad_share, number="id", goodreads="book_id")


def read_v2(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the second edition, four files, in which a book's number is `book_id` everywhere."""
    files = {role: (folder / dataset.files[role].name,) for role in ROLES}
    return _read_goodbooks(files, max_bad_share, number="book_id", goodreads="goodreads_book_id")


def _read_goodbooks(
    files: Mapping[str, tuple], max_bad_share: float, *, number: str, goodreads: str
) -> Raw:
    """Read one edition. number, goodreads: columns of books.csv with the two numbers of a book."""

    def sheets(role: str) -> Iterator[pl.DataFrame]:
        path, *member = files[role]
        return read_csv(blocks(path, *member, quote=b'"'), f"{role}.csv")

    interactions = check_interactions(
        sheets("ratings"),
        "ratings.csv",
        max_bad_share=max_bad_share,
        columns={"user": "user_id", "item": "book_id", "rating": "rating", "timestamp": None},
    )
    tags = good_rows(sheets("tags"), "tags.csv", max_bad_share)
    counted = good_rows(sheets("book_tags"), "book_tags.csv", max_bad_share)
    count = pl.col("count").cast(pl.Int64, strict=False)
    frequent = (
        counted.join(tags, on="tag_id")
        .filter(~pl.col("tag_name").is_in(STATUS_TAGS))
        .sort(count, "tag_name", descending=[True, False])
        .group_by("goodreads_book_id", maintain_order=True)
        .agg(pl.col("tag_name").head(MAX_TAGS).alias("tags"))
        .rename({"goodreads_book_id": goodreads})
    )
    books = (
        sheet.join(frequent, on=goodreads, how="left", maintain_order="left")
        for sheet in sheets("books")
    )
    items = check_items(
        books,
        "books.csv",
        max_bad_share=max_bad_share,
        columns={"item": number, "title": "title", "description": "authors", "categories": "tags"},
    )
    return join_items(interactions, items, "books.csv")
