"""Amazon Reviews of 2014, 2018 and 2023: one file of reviews and one of product metadata, a record
a line, gzip.

A product's text comes from its metadata alone: reviews are what users wrote after the purchase that
is to be predicted.
"""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.raw import Raw, interactions_of, items_of, join
from glta.io.records import Parse, parse_json, parse_literal, read_records
from glta.io.streams import blocks

SCRIPT = "getTime"  # in titles of 2018 that are a piece of the page's code, as the owners warn


Names = dict[str, str]
REVIEWS = {"user": "reviewerID", "item": "asin", "rating": "overall", "timestamp": "unixReviewTime"}
PRODUCTS_2014 = {
    "item": "asin",
    "title": "title",
    "description": "description",
    "categories": "categories",
}


def read_2014(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the edition of 2014, whose metadata are Python literals."""
    return _read(folder, dataset, max_bad_share, parse_literal, REVIEWS, PRODUCTS_2014)


def read_2018(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the edition of 2018; descriptions are lists of paragraphs, and some products occur
    several times.
    """
    return _read(
        folder,
        dataset,
        max_bad_share,
        parse_json,
        REVIEWS,
        PRODUCTS_2014 | {"categories": "category"},
    )


def read_2023(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the edition of 2023; an item is a parent_asin, which joins the variants of a product;
    times are milliseconds.
    """
    reviews = {
        "user": "user_id",
        "item": "parent_asin",
        "rating": "rating",
        "timestamp": "timestamp",
    }
    return _read(
        folder, dataset, max_bad_share, parse_json, reviews, PRODUCTS_2014 | {"item": "parent_asin"}
    )


def read_products_2014(path: Path, max_bad_share: float, only: pl.DataFrame) -> Raw:
    """Read the metadata of 2014; only: a frame of the item_ids to keep."""
    return _read_products(path, max_bad_share, parse_literal, PRODUCTS_2014, only)


def _read(
    folder: Path, dataset: Dataset, share: float, parse: Parse, reviews: Names, products: Names
) -> Raw:
    path = folder / dataset.files["interactions"].name
    user, item, *numbers = reviews.values()
    sheets = read_records(blocks(path), path.name, parse, [user, item], numbers)
    interactions = interactions_of(sheets, path.name, share, reviews)
    path = folder / dataset.files["items"].name
    used = interactions.interactions.select("item_id").unique()
    return join(interactions, _read_products(path, share, parse, products, used), path.name)


def _read_products(
    path: Path, share: float, parse: Parse, products: Names, only: pl.DataFrame
) -> Raw:
    item, title, description, categories = products.values()
    records = read_records(
        blocks(path), path.name, parse, [item], [title, description], [categories]
    )
    sheets = (
        sheet.with_columns(_without_code(title), _without_code(description)) for sheet in records
    )
    raw = items_of(sheets, path.name, share, products, only=only)
    return replace(
        raw,
        items=raw.items.with_columns(
            _characters("title"), _characters("description"), _categories()
        ),
    )


def _without_code(column: str) -> pl.Expr:
    return pl.when(~pl.col(column).str.contains(SCRIPT, literal=True)).then(column).alias(column)


def _characters(column: str) -> pl.Expr:
    """Turn the pages' entities (&amp;, &#39;) into characters."""
    return pl.col(column).map_elements(html.unescape, pl.String)


def _categories() -> pl.Expr:
    return pl.col("categories").list.eval(pl.element().str.replace_all("&amp;", "&", literal=True))
