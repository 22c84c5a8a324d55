"""The Yelp Open Dataset: a zip archive with a tar of JSON lines, as Yelp hands it out.

Yelp hands it out after the user has accepted its terms.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.json_lines import parse_json, read_records
from glta.io.raw import CheckedTable, Raw, check_interactions, check_items, join_items
from glta.io.streams import blocks

TAR = "yelp_dataset.tar"
REVIEWS = "yelp_academic_dataset_review.json"
BUSINESSES = "yelp_academic_dataset_business.json"


def read_yelp(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read reviews (1 to 5 stars) and businesses.

    Times are seconds since 1970. The file does not name the time zone; they are taken as UTC.
    """
    archive = folder / dataset.file.name
    reviews = _records(archive, REVIEWS, ids=["user_id", "business_id"], texts=["stars", "date"])
    seconds = pl.col("date").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).dt.epoch("s")
    # a time that cannot be read stays as it is, so that the check names it
    date = pl.coalesce(seconds.cast(pl.String), "date").alias("date")
    interactions = check_interactions(
        (review.with_columns(date) for review in reviews),
        REVIEWS,
        max_bad_share=max_bad_share,
        columns={"user": "user_id", "item": "business_id", "rating": "stars", "timestamp": "date"},
    )
    used = interactions.rows.select("item_id").unique()
    return join_items(interactions, read_businesses(archive, max_bad_share, used), archive.name)


def read_businesses(archive: Path, max_bad_share: float, only: pl.DataFrame) -> CheckedTable:
    """Read the businesses. only: a column item_id with the items to keep."""
    return check_items(
        _records(archive, BUSINESSES, ids=["business_id"], texts=["name", "categories"]),
        BUSINESSES,
        max_bad_share=max_bad_share,
        columns={
            "item": "business_id",
            "title": "name",
            "description": None,
            "categories": "categories",
        },
        separator=",",
        only=only,
    )


def _records(
    archive: Path, name: str, *, ids: list[str], texts: list[str]
) -> Iterator[pl.DataFrame]:
    return read_records(blocks(archive, TAR, name), name, parse_json, ids=ids, texts=texts)
