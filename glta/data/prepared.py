"""A prepared dataset: what the stage `prepare` writes, and how all others read it."""

# U users, I items
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import polars as pl

from glta.data.interactions import Interactions
from glta.data.sequences import Sequences
from glta.storage.digests import digest_of_arrays
from glta.storage.files import write_json


@dataclass(frozen=True)
class PreparedTables:
    """Hold what the stage `prepare` writes: tables as in docs/artefacts.md, and the counts.

    `Prepared.load` reads them.
    """

    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    counts: dict

    def save(self, folder: Path) -> None:
        """Write the five tables and counts.json into a folder."""
        for name in ("train", "valid", "test", "users", "items"):
            getattr(self, name).write_parquet(folder / f"{name}.parquet")
        write_json(folder / "counts.json", self.counts)


@dataclass(frozen=True)
class Prepared:
    """Hold one dataset and split with dense ids 0..U-1 and 0..I-1.

    train, valid, test: disjoint pairs.
    graph, target: the training pairs in two parts. The alignment propagates over the edges of graph
        and predicts the pairs of target.
    users: columns user, user_id.
    items: columns item, item_id, title, description, categories (list), and the columns that
        `tables.NAME.features` names.
    parts: the tables "train", "valid" and "test" (docs/artefacts.md). They hold the order, and are
        read only when `ordered` needs it. Empty for data without an order.
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
        """Training interactions in order: the histories for training and for validation."""
        return self.ordered("train")

    @cached_property
    def seen_sequences(self) -> Sequences:
        """Training and validation interactions in order: the histories at test time."""
        return self.ordered("train", "valid")

    def timed(self, method: str) -> Sequences:
        """Return the training interactions in order, for a method that learns from the order.

        method: its name, for the message. Raises ValueError when an interaction has no time: the
        order is then that of a file, which may mean nothing.
        """
        if self.sequences.time is None:
            raise ValueError(
                f"{method}: needs a time in every training interaction, because it learns from "
                "their order; name the column in tables.NAME.timestamp, or take it out of methods"
            )
        return self.sequences

    def ordered(self, *names: str) -> Sequences:
        """Return the interactions of some parts together, in order.

        names: any of train, valid, test. All training interactions are older than the held-out ones
        only in a split by time. In other splits, cut each history before its target with
        `Sequences.window` or `Sequences.before`.
        Raises ValueError for data without an order, and for tables without a column position.
        """
        if not self.parts:
            raise ValueError("these data have no order: pass `parts` with columns position")
        # a pattern lets a missing column pass: `Sequences.of` names it in its error
        columns = pl.col("^(user|item|timestamp|position)$")
        frames = [self.parts[name].select(columns).collect() for name in names]
        return Sequences.of(frames, self.users.height, self.items.height)

    @cached_property
    def seen(self) -> Interactions:
        """Training and validation pairs: excluded from the lists at test time."""
        return self.train.union(self.valid)

    @cached_property
    def digest(self) -> str:
        """SHA-256 digest of the ids in their order and of all pairs: of what numbers stand for.

        Texts of items do not count, nor does the format of the files.
        """
        parts = []
        for name in ("train", "valid", "test", "target"):
            key = getattr(self, name).key
            parts.append((name, key.dtype, key.shape, key.data))
        ids = {"users": self.users["user_id"].to_list(), "items": self.items["item_id"].to_list()}
        return digest_of_arrays(parts, ids)

    def for_refit(self) -> Prepared:
        """Return data whose training pairs are the training and validation pairs of these.

        The validation pairs join the graph; the targets stay. No validation or test pair is left.
        """
        none = Interactions.of([], [], self.train.num_users, self.train.num_items)
        parts = {}
        if self.parts:
            train, valid = self.parts["train"], self.parts["valid"]
            joined = pl.concat([train, valid], how="diagonal").sort("user", "item")
            joined = joined.with_columns(pl.col("target").fill_null(False))
            parts = {"train": joined, "valid": valid.clear(), "test": valid.clear()}
        return replace(
            self,
            train=self.seen,
            valid=none,
            test=none,
            graph=self.graph.union(self.valid),
            parts=parts,
        )

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
            train=pairs(train),
            valid=pairs(valid),
            test=pairs(test),
            graph=pairs(train.filter(~pl.col("target"))),
            target=pairs(train.filter("target")),
            users=users,
            items=items,
            parts={name: pl.scan_parquet(path) for name, path in paths.items()},
        )
