"""Parameters of the user's own data."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from glta.config import Section, Sha256

ITEM_COLUMNS = ("item", "item_id", "title", "description", "categories")
"""The columns that every prepared items table has."""


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
    features: list[str] = Field(
        [],
        description="further columns of items to keep, such as price or brand, for methods that "
        "use them",
    )
    interactions_sha256: Sha256 | None = Field(
        None, description="refuse a changed file; null checks nothing"
    )
    items_sha256: Sha256 | None = Field(
        None, description="refuse a changed file; null checks nothing"
    )
    licence: str = Field("not stated", description="shown in the report")

    @field_validator("features")
    @classmethod
    def _refuse_our_names(cls, features: list[str]) -> list[str]:
        for name in features:
            if name in ITEM_COLUMNS:
                raise ValueError(
                    f"{name} is the name of a column that every items table has "
                    f"({', '.join(ITEM_COLUMNS)}); rename the column in the file"
                )
            if features.count(name) > 1:
                raise ValueError(f"{name} is named twice; name it once")
        return features

    @model_validator(mode="after")
    def _features_are_of_items(self) -> Self:
        if self.features and self.items is None:
            raise ValueError("features are columns of items; set items, or leave features out")
        for role in ("item", "title", "description", "categories"):
            if (column := getattr(self, role)) in self.features:
                raise ValueError(
                    f"features has {column}, which is read as {role}; leave it out of one of them"
                )
        return self
