"""Read items that were not in training, and encode their texts as the stage `profile` does."""

# J new items, W language width
from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from glta.datasets.settings import TableSettings
from glta.features.settings import ProfileSettings

if TYPE_CHECKING:
    # it imports torch, which most commands do without
    from glta.nn.language.frozen import Language

RENAME = "rename it in the file"
"""What to do about a missing column where no entry of `tables` could name it."""


def read_new_items(
    file: Path,
    known: pl.Series,
    *,
    table: TableSettings | None = None,
    parameter: str = "tables",
    max_bad_share: float = 0.0,
    dataset: str = "the dataset",
) -> pl.DataFrame:
    """Read new items from a file of the same form as the items' file of a dataset in `tables`.

    known: the ids of the catalogue. table: the dataset's entry in `tables`, whose names the columns
    have; None: the default names. parameter: where the entry stands. Only the column of ids must be
    in the file. max_bad_share: of rows that cannot be read. dataset: its name, for messages.
    Returns columns item, item_id, title, description, categories. Raises FileNotFoundError, and
    ValueError for rows that cannot be read and for an id that the dataset already has.
    """
    from glta.datasets.readers.own_tables import TableFile, item_columns
    from glta.io.raw import check_items

    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    advice = None if table else RENAME
    table = table or TableSettings(interactions="none")
    columns = item_columns(table)
    # the separator and the header are those of the dataset's own files, and may differ here
    plain = table.model_copy(
        update={"separator": None, "items_separator": None, "items_header": None}
    )
    source = TableFile(file, str(file), parameter, plain, key="items_", advice=advice)
    sheets = source.sheets(columns, needed=("item",))
    first = next(sheets)
    columns = {
        role: column if column in first.columns or role == "item" else None
        for role, column in columns.items()
    }
    found = check_items(
        chain([first], sheets),
        file.name,
        max_bad_share=max_bad_share,
        columns=columns,
        parameter=parameter,
        separator=table.category_separator,
        null_words=table.null_words,
        place=source.place,
    ).rows
    if (twice := found.filter(pl.col("item_id").is_in(known.implode()))).height:
        raise ValueError(
            f"{file}: item {twice['item_id'][0]} is not new, {dataset} has it already; take it out "
            "of the file"
        )
    return found.with_row_index("item")


def encode_texts(
    items: pl.DataFrame, profile: ProfileSettings, language: Language, cache: Path | None = None
) -> np.ndarray:
    """Encode the texts of items as the stage `profile` does: (J, W) float32.

    items: columns item, item_id, title, description, categories. cache: see `Language.encode`.
    """
    from glta.features.text.item_texts import item_texts

    return language.encode(item_texts(items, profile)["text"].to_list(), cache=cache)
