"""Settings of the user's own data, the section `tables` of params.yaml."""

from __future__ import annotations

from pydantic import Field

from glta.config import Section, Sha256


class TableSettings(Section):
    """Describe one dataset of the user: files of interactions and items, and their columns."""

    interactions: str = Field(
        description="file with one row an interaction: CSV, JSON lines or Parquet; a path from "
        "this folder or from the mirror, or an http address"
    )
    items: str | None = Field(
        default=None,
        description="file with one row an item, in the same formats; null: ids serve as titles",
    )
    user: str = Field(default="user_id", description="column of interactions: the user's id")
    item: str = Field(default="item_id", description="column of both files: the item's id")
    rating: str | None = Field(
        default="rating", description="column of interactions; null if there is none"
    )
    timestamp: str | None = Field(
        default="timestamp",
        description="column of interactions, any number that grows with time; null if there is "
        "none",
    )
    part: str | None = Field(
        default=None,
        description="column of interactions with train, valid or test, for prepare.split = given; "
        "null if there is none",
    )
    title: str | None = Field(default="title", description="column of items; null if there is none")
    description: str | None = Field(
        default="description", description="column of items; null if there is none"
    )
    categories: str | None = Field(
        default="categories", description="column of items; null if there is none"
    )
    category_separator: str = Field(
        default="|", min_length=1, description="text between the categories in a cell"
    )
    interactions_sha256: Sha256 | None = Field(
        default=None, description="checksum that the file must have; null checks nothing"
    )
    items_sha256: Sha256 | None = Field(
        default=None, description="checksum that the file must have; null checks nothing"
    )
    licence: str = Field(default="not stated", description="licence to show in the report")
