"""Read what the stage `prepare` wrote."""

# U users, I items
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.data.sequences import Sequences


@dataclass(frozen=True)
class Prepared:
    """Hold one dataset and split with dense ids 0..U-1 and 0..I-1.

    train, valid, test: disjoint pairs. graph and target: the training pairs cut in two, the
    alignment's message graph and its targets. users: columns user, user_id. items: columns item,
    item_id, title, description, categories (list), and what `tables.NAME.features`
    names. parts: "train", "valid", "test" to their tables as docs/artefacts.md has them, which are
    read when the order is asked for; empty in data made by hand that has no order.
    """

    train: Interactions
    valid: Interactions
    test: Interactions
    graph: Interactions
    target: Interactions
    users: pl.DataFrame
    items: pl.DataFrame
    parts: Mapping[str, pl.LazyFrame] = field(default_factory=dict)

    @cached_property
    def sequences(self) -> Sequences:
        """Training interactions in order: what a method trains on, and knows at validation."""
        return self.ordered("train")

    @cached_property
    def seen_sequences(self) -> Sequences:
        """Training and validation interactions in order: what is known at test time."""
        return self.ordered("train", "valid")

    def ordered(self, *names: str) -> Sequences:
        """Return some parts of the split together, in order; names: of train, valid, test.

        Only with a split by time is all of training older than the targets. With others,
        `Sequences.window` and `Sequences.before` cut a history before a target.
        Raises ValueError for tables without a column position.
        """
        if not self.parts:
            raise ValueError("these data have no order: pass `parts` with columns position")
        columns = pl.col("^(user|item|timestamp|position)$")  # a missing one is named by Sequences
        frames = [self.parts[name].select(columns).collect() for name in names]
        return Sequences.of(frames, self.users.height, self.items.height)

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

        paths = {name: folder / f"{name}.parquet" for name in ("train", "valid", "test")}
        train = pl.read_parquet(paths["train"], columns=["user", "item", "target"])
        valid, test = (
            pl.read_parquet(paths[name], columns=["user", "item"]) for name in ("valid", "test")
        )
        return cls(
            pairs(train),
            pairs(valid),
            pairs(test),
            pairs(train.filter(~pl.col("target"))),
            pairs(train.filter("target")),
            users,
            items,
            {name: pl.scan_parquet(path) for name, path in paths.items()},
        )
