"""Read the public splits whose published results `benchmarks.published` repeats.

The data lie in a mirror: a folder with one folder for each name in `COUNTS`. The first three are
lists of ids ("user item item ..." a line) in train.txt.gz and test.txt.gz. The others are tables
interactions.csv.gz and items.csv.gz, which are split by leave-last-out after a 5-core.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.data.prepare import prepare
from glta.data.prepared import Prepared
from glta.data.settings import PrepareSettings
from glta.data.splits import choose_targets
from glta.datasets.readers import read_dataset
from glta.datasets.settings import TableSettings

GOWALLA = "gowalla-lightgcn"
CDS = "amazon-cds-m1"
ELECTRONICS = "amazon-electronics-m1"
BEAUTY = "amazon-beauty"
TOYS = "amazon-toys"

ID_LISTS = (GOWALLA, CDS, ELECTRONICS)

COUNTS = {
    GOWALLA: (29_858, 40_981, 810_128 + 217_242),
    CDS: (43_169, 35_648, 604_475 + 172_951),
    ELECTRONICS: (1_435, 1_522, 31_887 + 4_044),
    BEAUTY: (22_363, 12_101, 198_502),
    TOYS: (19_412, 11_924, 167_597),
}
"""Published numbers of users, items and interactions."""

VALID_SHARE = 0.1
"""Share of each user's training items to choose epochs by, where a split has no validation part."""


def read_id_lists(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read lines of "user item item ..." into two id arrays (E,)."""
    with gzip.open(path, "rt") as lines:
        rows = [np.array(line.split(), np.int64) for line in lines]
    user = np.concatenate([np.full(r.size - 1, r[0]) for r in rows])
    item = np.concatenate([r[1:] for r in rows])
    return user, item


def read_split(folder: Path) -> tuple[Interactions, Interactions]:
    """Read the training and the test pairs of a folder of id lists."""
    pairs = [read_id_lists(folder / f"{part}.txt.gz") for part in ("train", "test")]
    num_users, num_items = (int(max(p[axis].max() for p in pairs)) + 1 for axis in (0, 1))
    train, test = (Interactions.of(*pair, num_users, num_items) for pair in pairs)
    return train, test


def read_public(mirror: Path, name: str) -> Prepared:
    """Read a public split.

    The id lists get a validation part of `VALID_SHARE`, drawn with seed 0. Raises ValueError when
    the numbers of users, items and interactions are not those published.
    """
    folder = mirror / name
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder; name the folder that holds {', '.join(COUNTS)}"
        )
    data = _of_id_lists(folder) if name in ID_LISTS else _of_tables(folder, name)
    pairs = len(data.train) + len(data.valid) + len(data.test)
    found = (data.train.num_users, data.train.num_items, pairs)
    if found != COUNTS[name]:
        raise ValueError(f"{folder}: has {found} users, items and pairs, published: {COUNTS[name]}")
    return data


def _of_id_lists(folder: Path) -> Prepared:
    whole, test = read_split(folder)
    held = choose_targets(whole.user, VALID_SHARE, np.random.default_rng([0]))

    def part(mask: np.ndarray) -> Interactions:
        return Interactions.of(whole.user[mask], whole.item[mask], whole.num_users, whole.num_items)

    nothing = part(np.zeros(len(whole), bool))
    users = pl.DataFrame({"user": np.arange(whole.num_users, dtype=np.int32)})
    items = pl.DataFrame({"item": np.arange(whole.num_items, dtype=np.int32)})
    return Prepared(part(~held), part(held), test, part(~held), nothing, users, items)


def _of_tables(folder: Path, name: str) -> Prepared:
    tables = {name: TableSettings(interactions="interactions.csv.gz", items="items.csv.gz")}
    raw = read_dataset(name, tables, folder)
    with TemporaryDirectory() as scratch:
        prepare(raw, PrepareSettings(split="leave_last_out"), seed=0).save(Path(scratch))
        loaded = Prepared.load(scratch)
        # read now, as the folder is about to go
        parts = {part: frame.collect().lazy() for part, frame in loaded.parts.items()}
    return replace(loaded, parts=parts)
