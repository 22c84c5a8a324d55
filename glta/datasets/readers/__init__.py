"""Read a folder of downloaded files into two plain tables; one module for each source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from glta.datasets.catalogue import REGISTRY, Dataset, unknown_dataset
from glta.datasets.readers import (
    amazon,
    goodbooks,
    goodreads,
    id_lists,
    movielens,
    own_tables,
    rlmrec,
    steam,
    yelp,
)
from glta.datasets.settings import TableSettings
from glta.io.raw import Raw

READERS: dict[str, Callable[[Path, Dataset, float], Raw]] = {
    "sample": own_tables.read_sample,
    "movielens_csv": movielens.read_csv_archive,
    "movielens_100k": movielens.read_100k,
    "movielens_1m": movielens.read_1m,
    "movielens_10m": movielens.read_10m,
    "amazon_2014": amazon.read_2014,
    "amazon_2018": amazon.read_2018,
    "amazon_2023": amazon.read_2023,
    "goodreads": goodreads.read_goodreads,
    "goodbooks_v1": goodbooks.read_v1,
    "goodbooks_v2": goodbooks.read_v2,
    "steam": steam.read_steam,
    "yelp": yelp.read_yelp,
    "id_lists": id_lists.read_id_lists,
    "rlmrec_amazon": rlmrec.read_rlmrec_amazon,
    "rlmrec_steam": rlmrec.read_rlmrec_steam,
    "rlmrec_yelp": rlmrec.read_rlmrec_yelp,
}
"""The readers by the names that the registry uses. Each takes the folder of the downloaded files,
the dataset, and the largest share of bad rows; it returns the two tables, and raises ValueError
that names file and line."""


def read_dataset(
    dataset: str, tables: Mapping[str, TableSettings], folder: Path, *, max_bad_share: float = 0.0
) -> Raw:
    """Read the downloaded files of a dataset with the reader of its format.

    tables: the user's own datasets, by name. folder: where the files are. max_bad_share: the
    largest share of rows of a file that may be dropped as bad. Raises ValueError with file, line,
    column and fix.
    """
    if dataset in REGISTRY:
        entry = REGISTRY[dataset]
        return READERS[entry.reader](folder, entry, max_bad_share)
    if dataset not in tables:
        raise unknown_dataset(dataset)
    return own_tables.read_own_tables(folder, dataset, max_bad_share, tables[dataset])
