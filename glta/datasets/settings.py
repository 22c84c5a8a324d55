"""Settings of the user's own data, the section `tables` of params.yaml."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from glta.config import Section, Sha256

NULL_WORDS = [
    *("NULL", "null", "NaN", "nan", "NAN", "-nan", "-NaN", "None", "NaT", "\\N"),
    *("NA", "<NA>", "N/A", "n/a", "#N/A", "#NA"),
]
"""What databases, pandas, R and spreadsheets write for no value."""

ITEM_COLUMNS = ("item", "item_id", "title", "description", "categories")
"""The columns that every prepared items table has."""


class TableSettings(Section):
    """Describe one dataset of the user: files of interactions and items, and their columns."""

    interactions: str = Field(
        min_length=1,
        description="file with one row an interaction: CSV, JSON or Parquet, or a folder of such "
        "parts; a path from this folder or from the mirror, or an http address",
    )
    items: str | None = Field(
        default=None,
        min_length=1,
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
    separator: str | None = Field(
        default=None,
        description="text between the cells of interactions; null finds it in the first line",
    )
    items_separator: str | None = Field(default=None, description="the same for items")
    header: list[str] | None = Field(
        default=None,
        description="names of all columns of interactions, for a CSV without a line of names",
    )
    items_header: list[str] | None = Field(default=None, description="the same for items")
    quotes: bool = Field(
        default=True,
        description="cells of a CSV may stand in double quotes; false: quotes are text",
    )
    null_words: list[str] = Field(
        default=NULL_WORDS,
        description="cells that stand for no value in ids, numbers, times, descriptions and "
        "categories; titles have them as they are",
    )
    features: list[str] = Field(
        default=[],
        description="further columns of items to keep, such as price or brand, for methods that "
        "use them",
    )
    interactions_sha256: Sha256 | None = Field(
        default=None, description="checksum that the file must have; null checks nothing"
    )
    items_sha256: Sha256 | None = Field(
        default=None, description="checksum that the file must have; null checks nothing"
    )
    licence: str = Field(default="not stated", description="licence to show in the report")

    @field_validator("separator", "items_separator")
    @classmethod
    def _plain_separator(cls, separator: str | None) -> str | None:
        """Let a tab be written as \\t or tab, as YAML has it in double quotes only."""
        if separator in ("\\t", "tab"):
            return "\t"
        if separator is not None and (not separator or set(separator) & set('"\r\n')):
            raise ValueError("must be text without quotes and line ends, such as ; or tab")
        return separator

    @field_validator("header", "items_header")
    @classmethod
    def _names_differ(cls, header: list[str] | None) -> list[str] | None:
        for name in header or []:
            if header and header.count(name) > 1:
                raise ValueError(f"names column {name} twice; give each column its own name")
        return header

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
            column = getattr(self, role)
            if column in self.features:
                raise ValueError(
                    f"features has {column}, which is read as {role}; leave it out of one of them"
                )
        return self
