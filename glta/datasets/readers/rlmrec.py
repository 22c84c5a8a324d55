"""The split data of RLMRec: lists of ids written out from its matrices, its map of item ids, and
texts from the sources.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.datasets.readers import amazon, id_lists, steam, yelp
from glta.io.cells import whole
from glta.io.raw import Raw, join
from glta.io.records import parse_json, read_records
from glta.io.streams import blocks

Catalogue = Callable[[Path, float, pl.DataFrame], Raw]


def read_amazon(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read Amazon-book, with texts from the metadata of 2014."""
    return _read(folder, dataset, max_bad_share, "asin", amazon.read_products_2014)


def read_steam(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read Steam, with texts from its games."""
    return _read(folder, dataset, max_bad_share, "product_id", steam.read_games)


def read_yelp(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read Yelp, with texts from its businesses."""
    return _read(folder, dataset, max_bad_share, "business_id", yelp.read_businesses)


def _read(folder: Path, dataset: Dataset, share: float, field: str, catalogue: Catalogue) -> Raw:
    lists = id_lists.read(folder, dataset, share)
    name = dataset.files["mapper"].name
    known = whole(
        read_records(blocks(folder / name), name, parse_json, ["iid", field]), name, share
    )
    used = known.join(lists.interactions, left_on="iid", right_on="item_id", how="semi")
    path = folder / dataset.files["items"].name
    found = catalogue(path, share, used.select(pl.col(field).alias("item_id")).unique())
    items = (
        used.join(found.items, left_on=field, right_on="item_id")
        .drop(field)
        .rename({"iid": "item_id"})
    )
    return join(lists, replace(found, items=items), path.name)
