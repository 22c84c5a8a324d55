"""Amazon Reviews of 2014, 2018 and 2023: one file of reviews and one of product metadata, a record a line, gzip.

A product's text comes from its metadata alone: reviews are what users wrote after the purchase that is to be predicted.
"""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import polars as pl

from glta.data.raw import Raw, interactions_of, items_of, join
from glta.data.records import Parse, parse_json, parse_literal, read_records
from glta.data.registry import Dataset
from glta.data.streams import blocks

SCRIPT = "getTime"  # in titles of 2018 that are a piece of the page's code, as the owners warn


def read_2014(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the edition of 2014, whose metadata are Python literals."""
    reviews = {"user": "reviewerID", "item": "asin", "rating": "overall", "timestamp": "unixReviewTime"}
    products = {"item": "asin", "title": "title", "description": "description", "categories": "categories"}
    return _read(folder, dataset, max_bad_share, parse_literal, reviews, products)


def read_2018(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the edition of 2018; descriptions are lists of paragraphs, and some products occur several times."""
    reviews = {"user": "reviewerID", "item": "asin", "rating": "overall", "timestamp": "unixReviewTime"}
    products = {"item": "asin", "title": "title", "description": "description", "categories": "category"}
    return _read(folder, dataset, max_bad_share, parse_json, reviews, products)


def read_2023(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read the edition of 2023; an item is a parent_asin, which joins the variants of a product; times are milliseconds."""
    reviews = {"user": "user_id", "item": "parent_asin", "rating": "rating", "timestamp": "timestamp"}
    products = {"item": "parent_asin", "title": "title", "description": "description", "categories": "categories"}
    return _read(folder, dataset, max_bad_share, parse_json, reviews, products)


def _read(folder: Path, dataset: Dataset, share: float, parse: Parse, reviews: dict[str, str], products: dict[str, str]) -> Raw:
    name = dataset.files["interactions"].name
    ids, numbers = list(reviews.values())[:2], list(reviews.values())[2:]
    sheets = read_records(blocks(folder / name), name, parse, ids, numbers)
    interactions = interactions_of(sheets, name, share, reviews)
    name = dataset.files["items"].name
    item, title, description, categories = products.values()
    products_read = read_records(blocks(folder / name), name, parse, [item], [title, description], [categories])
    sheets = (sheet.with_columns(_without_code(title), _without_code(description)) for sheet in products_read)
    used = interactions.interactions.select("item_id").unique()
    raw = join(interactions, items_of(sheets, name, share, products, only=used), name)
    return replace(raw, items=raw.items.with_columns(_characters("title"), _characters("description"), _categories()))


def _without_code(column: str) -> pl.Expr:
    return pl.when(~pl.col(column).str.contains(SCRIPT, literal=True)).then(column).alias(column)


def _characters(column: str) -> pl.Expr:
    """Turn the pages' entities (&amp;, &#39;) into characters."""
    return pl.col(column).map_elements(html.unescape, pl.String)


def _categories() -> pl.Expr:
    return pl.col("categories").list.eval(pl.element().str.replace_all("&amp;", "&", literal=True))
