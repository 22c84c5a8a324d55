"""Parameters of the user's own data."""

from __future__ import annotations

from pydantic import Field

from glta.config import Section, Sha256


class TableSettings(Section):
    """Describe the user's own interactions and items: CSV, JSON lines or Parquet, one row an
    interaction or item.
    """

    interactions: str = Field(
        description="file, relative to this folder or to the mirror, or an http address"
    )
    items: str | None = Field(
        None, description="file with item texts; without it the item id is the title"
    )
    user: str = Field("user_id", description="column of interactions")
    item: str = Field("item_id", description="column of interactions and of items")
    rating: str | None = Field(
        "rating", description="column of interactions; null when there is none"
    )
    timestamp: str | None = Field(
        "timestamp", description="column of interactions, any number that grows with time; or null"
    )
    part: str | None = Field(
        None,
        description="column of interactions: train, valid or test, for prepare.split: given; or "
        "null",
    )
    title: str | None = Field("title", description="column of items, or null")
    description: str | None = Field("description", description="column of items, or null")
    categories: str | None = Field("categories", description="column of items, or null")
    category_separator: str = Field(
        "|", min_length=1, description="what separates categories within a cell"
    )
    interactions_sha256: Sha256 | None = Field(
        None, description="refuse a changed file; null checks nothing"
    )
    items_sha256: Sha256 | None = Field(
        None, description="refuse a changed file; null checks nothing"
    )
    licence: str = Field("not stated", description="shown in the report")
