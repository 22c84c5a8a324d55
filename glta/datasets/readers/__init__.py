"""From a folder of downloaded files to two plain tables, the same for every source; one module a
family of datasets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from glta.datasets.catalogue import REGISTRY, Dataset
from glta.datasets.readers import (
    amazon,
    goodbooks,
    goodreads,
    id_lists,
    movielens,
    rlmrec,
    steam,
    tables,
    yelp,
)
from glta.datasets.settings import TableSettings
from glta.io.raw import Raw

READERS: dict[str, Callable[[Path, Dataset, float], Raw]] = {
    "sample": tables.read_sample,
    "movielens_csv": movielens.read_csv_archive,
    "movielens_100k": movielens.read_100k,
    "movielens_1m": movielens.read_1m,
    "movielens_10m": movielens.read_10m,
    "amazon_2014": amazon.read_2014,
    "amazon_2018": amazon.read_2018,
    "amazon_2023": amazon.read_2023,
    "goodreads": goodreads.read,
    "goodbooks_v1": goodbooks.read_v1,
    "goodbooks_v2": goodbooks.read_v2,
    "steam": steam.read,
    "yelp": yelp.read,
    "id_lists": id_lists.read,
    "rlmrec_amazon": rlmrec.read_amazon,
    "rlmrec_steam": rlmrec.read_steam,
    "rlmrec_yelp": rlmrec.read_yelp,
}


def read(
    dataset: str, own: Mapping[str, TableSettings], folder: Path, *, max_bad_share: float = 0.0
) -> Raw:
    """Read a dataset's download folder with the reader of its format.

    Raises ValueError with file, line, column and fix.
    """
    if dataset in REGISTRY:
        return READERS[REGISTRY[dataset].reader](folder, REGISTRY[dataset], max_bad_share)
    if dataset not in own:
        raise ValueError(
            f"{dataset}: is no registered dataset, nor one of tables in params.yaml; `glta "
            "datasets` lists all"
        )
    return tables.read(folder, dataset, max_bad_share, own[dataset])
