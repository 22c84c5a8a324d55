"""The split data of RLMRec: lists of ids, a map to the ids of the source, texts from the source.

The lists of ids are written out from RLMRec's matrices, as docs/datasets.md tells.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.datasets.readers import amazon, steam, yelp
from glta.datasets.readers.id_lists import read_parts
from glta.io.json_lines import parse_json, read_records
from glta.io.raw import CheckedTable, Raw, join_items
from glta.io.sheets import good_rows
from glta.io.streams import blocks

ReadItems = Callable[[Path, float, pl.DataFrame], CheckedTable]


def read_rlmrec_amazon(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read Amazon-book, with texts from the Amazon metadata of 2014."""
    return _read_rlmrec(
        folder, dataset, max_bad_share, id_field="asin", read_items=amazon.read_products_2014
    )


def read_rlmrec_steam(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read Steam, with texts from the games of Steam."""
    return _read_rlmrec(
        folder, dataset, max_bad_share, id_field="product_id", read_items=steam.read_games
    )


def read_rlmrec_yelp(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read Yelp, with texts from the businesses of Yelp."""
    return _read_rlmrec(
        folder, dataset, max_bad_share, id_field="business_id", read_items=yelp.read_businesses
    )


def _read_rlmrec(
    folder: Path, dataset: Dataset, max_bad_share: float, *, id_field: str, read_items: ReadItems
) -> Raw:
    """Read one dataset. id_field: the field of the map that holds the id of the source."""
    interactions = read_parts(folder, dataset, max_bad_share)
    path = folder / dataset.files["mapper"].name
    records = read_records(blocks(path), path.name, parse_json, ids=["iid", id_field])
    known = good_rows(records, path.name, max_bad_share)
    used = known.join(interactions.rows, left_on="iid", right_on="item_id", how="semi")

    path = folder / dataset.files["items"].name
    only = used.select(pl.col(id_field).alias("item_id")).unique()
    found = read_items(path, max_bad_share, only)
    items = (
        used.join(found.rows, left_on=id_field, right_on="item_id")
        .drop(id_field)
        .rename({"iid": "item_id"})
    )
    return join_items(interactions, CheckedTable(items, found.counts), path.name)
