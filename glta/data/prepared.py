"""Read what the stage `prepare` wrote."""

# U users, I items
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from glta.data.interactions import Interactions


@dataclass(frozen=True)
class Prepared:
    """Hold one dataset and split with dense ids 0..U-1 and 0..I-1.

    train, valid, test: disjoint pairs. graph and target: the training pairs cut in two, the
    alignment's message graph and its targets. users: columns user, user_id. items: columns item,
    item_id, title, description, categories (list).
    """

    train: Interactions
    valid: Interactions
    test: Interactions
    graph: Interactions
    target: Interactions
    users: pl.DataFrame
    items: pl.DataFrame

    @cached_property
    def seen(self) -> Interactions:
        """Training and validation pairs: what is masked at test time."""
        return self.train.union(self.valid)

    @cached_property
    def new_items(self) -> np.ndarray:
        """(I,) bool: items that nobody has in training, told by their text alone."""
        return self.train.item_degree == 0

    @classmethod
    def load(cls, folder: Path | str) -> Prepared:
        """Read the folder. Raises FileNotFoundError when a file is missing."""
        folder = Path(folder)
        users, items = (pl.read_parquet(folder / f"{name}.parquet") for name in ("users", "items"))

        def pairs(frame: pl.DataFrame) -> Interactions:
            return Interactions.of(
                frame["user"].to_numpy(), frame["item"].to_numpy(), users.height, items.height
            )

        train, valid, test = (
            pl.read_parquet(folder / f"{name}.parquet") for name in ("train", "valid", "test")
        )
        return cls(
            *map(
                pairs, (train, valid, test, train.filter(~pl.col("target")), train.filter("target"))
            ),
            users,
            items,
        )
