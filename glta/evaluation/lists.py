"""Top-K lists of one method: the stage `recommend` writes them, the stage `evaluate` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Lists:
    """Hold top-K lists. Columns: user, rank (1 is best), item, score.

    valid, test: for users with validation, or test, items.
    new: lists of new items alone, which the model of the test lists was not fitted on, for users
    who have one in test; None where no test pair has such an item.
    """

    valid: pl.DataFrame
    test: pl.DataFrame
    new: pl.DataFrame | None = None

    def save(self, folder: Path) -> None:
        """Write valid.parquet and test.parquet, and new.parquet where there are such lists."""
        self.valid.write_parquet(folder / "valid.parquet")
        self.test.write_parquet(folder / "test.parquet")
        if self.new is not None:
            self.new.write_parquet(folder / "new.parquet")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises FileNotFoundError when a file is missing."""
        new = folder / "new.parquet"
        return cls(
            valid=pl.read_parquet(folder / "valid.parquet"),
            test=pl.read_parquet(folder / "test.parquet"),
            new=pl.read_parquet(new) if new.exists() else None,
        )

    @classmethod
    def joined(cls, shards: Sequence[Self]) -> Self:
        """Join the lists of shards. Rows are sorted by user and rank, as in an undivided run."""

        def of(tables: list[pl.DataFrame]) -> pl.DataFrame:
            return pl.concat(tables).sort("user", "rank").rechunk()

        new = [lists.new for lists in shards if lists.new is not None]
        return cls(
            valid=of([lists.valid for lists in shards]),
            test=of([lists.test for lists in shards]),
            new=of(new) if new else None,
        )


def list_table(users: np.ndarray, items: np.ndarray, scores: np.ndarray) -> pl.DataFrame:
    """Put lists (users.size, K) into rows user, rank (1 is best), item, score.

    Places without an item (-1) are left out.
    """
    columns = {
        "user": pl.Series(np.repeat(users, items.shape[1]), dtype=pl.Int32),
        "rank": pl.Series(np.tile(np.arange(1, items.shape[1] + 1), users.size), dtype=pl.Int16),
        "item": pl.Series(items.ravel(), dtype=pl.Int32),
        "score": pl.Series(scores.ravel(), dtype=pl.Float32),
    }
    # one chunk, because the chunks decide the bytes of a Parquet file
    return pl.DataFrame(columns).filter(pl.col("item") >= 0).rechunk()
