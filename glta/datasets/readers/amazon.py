"""Amazon Reviews of 2014, 2018 and 2023: reviews and product metadata, a record a line, gzip.

The text of a product comes from its metadata alone. Users write reviews after the purchase that is
to be predicted, so the text of a review would tell the answer.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.json_lines import Parse, parse_json, parse_literal, read_records
from glta.io.raw import CheckedTable, Raw, check_interactions, check_items, join_items
from glta.io.streams import blocks

# Some titles and descriptions of 2018 are a piece of the page's code, as the owners warn.
PAGE_CODE = "getTime"


@dataclass(frozen=True)
class Edition:
    """Describe the files of one edition: how a line is parsed, and the fields by their role."""

    parse: Parse
    reviews: dict[str, str]
    products: dict[str, str]


REVIEW_FIELDS = {
    "user": "reviewerID",
    "item": "asin",
    "rating": "overall",
    "timestamp": "unixReviewTime",
}
PRODUCT_FIELDS = {
    "item": "asin",
    "title": "title",
    "description": "description",
    "categories": "categories",
}
EDITION_2014 = Edition(parse_literal, REVIEW_FIELDS, PRODUCT_FIELDS)
EDITION_2018 = Edition(parse_json, REVIEW_FIELDS, PRODUCT_FIELDS | {"categories": "category"})
EDITION_2023 = Edition(
    parse_json,
    {"user": "user_id", "item": "parent_asin", "rating": "rating", "timestamp": "timestamp"},
    PRODUCT_FIELDS | {"item": "parent_asin"},
)


def read_2014(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the edition of 2014, whose metadata are Python literals."""
    return _read_edition(folder, dataset, max_bad_share, EDITION_2014)


def read_2018(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the edition of 2018.

    Its descriptions are lists of paragraphs, and some products occur several times.
    """
    return _read_edition(folder, dataset, max_bad_share, EDITION_2018)


def read_2023(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the edition of 2023.

    An item is a parent_asin, which stands for all variants of a product. Times are milliseconds.
    """
    return _read_edition(folder, dataset, max_bad_share, EDITION_2023)


def read_products_2014(path: Path, max_bad_share: float, only: pl.DataFrame) -> CheckedTable:
    """Read the metadata of 2014. only: a column item_id with the items to keep."""
    return _read_products(path, max_bad_share, EDITION_2014, only)


def _read_edition(folder: Path, dataset: Dataset, max_bad_share: float, edition: Edition) -> Raw:
    reviews = edition.reviews
    path = folder / dataset.files["interactions"].name
    sheets = read_records(
        blocks(path),
        path.name,
        edition.parse,
        ids=[reviews["user"], reviews["item"]],
        texts=[reviews["rating"], reviews["timestamp"]],
    )
    interactions = check_interactions(
        sheets, path.name, max_bad_share=max_bad_share, columns=reviews
    )
    path = folder / dataset.files["items"].name
    used = interactions.rows.select("item_id").unique()
    products = _read_products(path, max_bad_share, edition, used)
    return join_items(interactions, products, path.name)


def _read_products(
    path: Path, max_bad_share: float, edition: Edition, only: pl.DataFrame
) -> CheckedTable:
    fields = edition.products
    title = fields["title"]
    description = fields["description"]
    records = read_records(
        blocks(path),
        path.name,
        edition.parse,
        ids=[fields["item"]],
        texts=[title, description],
        lists=[fields["categories"]],
    )
    texts = _without_code(title), _without_code(description)
    sheets = (sheet.with_columns(texts) for sheet in records)
    items = check_items(sheets, path.name, max_bad_share=max_bad_share, columns=fields, only=only)
    unescaped = _unescaped("title"), _unescaped("description"), _categories()
    return replace(items, rows=items.rows.with_columns(unescaped))


def _without_code(column: str) -> pl.Expr:
    is_text = ~pl.col(column).str.contains(PAGE_CODE, literal=True)
    return pl.when(is_text).then(column).alias(column)


def _unescaped(column: str) -> pl.Expr:
    """Turn the HTML entities of the pages (&amp;, &#39;) into characters."""
    return pl.col(column).map_elements(html.unescape, pl.String)


def _categories() -> pl.Expr:
    return pl.col("categories").list.eval(pl.element().str.replace_all("&amp;", "&", literal=True))
