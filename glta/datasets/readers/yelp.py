"""The Yelp Open Dataset: a zip archive with a tar of JSON lines, as Yelp hands it out after its
terms are accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.raw import Raw, interactions_of, items_of, join
from glta.io.records import parse_json, read_records
from glta.io.streams import blocks

TAR = "yelp_dataset.tar"


def read(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read reviews (stars 1 to 5) and businesses; times are seconds since 1970, taken as UTC."""
    archive = folder / dataset.file.name
    name, reviews = _records(archive, "review", ["user_id", "business_id"], ["stars", "date"])
    time = (
        pl.col("date")
        .str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False)
        .dt.epoch("s")
        .cast(pl.String)
    )
    sheets = (sheet.with_columns(pl.coalesce(time, "date").alias("date")) for sheet in reviews)
    named = {"user": "user_id", "item": "business_id", "rating": "stars", "timestamp": "date"}
    interactions = interactions_of(sheets, name, max_bad_share, named)
    used = interactions.interactions.select("item_id").unique()
    return join(interactions, read_businesses(archive, max_bad_share, used), archive.name)


def read_businesses(archive: Path, max_bad_share: float, only: pl.DataFrame) -> Raw:
    """Read the businesses; only: a frame of the item_ids to keep."""
    name, sheets = _records(archive, "business", ["business_id"], ["name", "categories"])
    named = {
        "item": "business_id",
        "title": "name",
        "description": None,
        "categories": "categories",
    }
    return items_of(sheets, name, max_bad_share, named, separator=",", only=only)


def _records(
    archive: Path, part: str, ids: list[str], texts: list[str]
) -> tuple[str, Iterator[pl.DataFrame]]:
    name = f"yelp_academic_dataset_{part}.json"
    return name, read_records(blocks(archive, TAR, name), name, parse_json, ids, texts)
