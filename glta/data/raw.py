"""Checked columns: cells of text become the two plain tables that are the same for every source."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from glta.data.cells import LINE, PROBLEM, mark, missing, need_column, sift

Columns = dict[str, str | None]
"""What a column is for (user, item, rating, ...) to its name in the file; None: the file has none."""


@dataclass(frozen=True)
class Raw:
    """Hold a dataset as its source gives it.

    interactions: user_id, item_id (text), rating (float or null), timestamp (int or null), in the order of the file.
    items: item_id, title, description (text, never null), categories (list of text); one row an item, each with a title.
    counts: what was read, mended and dropped.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    counts: dict[str, int] = field(default_factory=dict)


def interactions_of(sheet: pl.DataFrame, name: str, share: float, columns: Columns, key: str) -> Raw:
    """Turn cells into checked interactions; columns: user, item, rating, timestamp; key: the parameter that names them.

    Raises ValueError for a missing column, and for more than `share` rows without ids or with a rating that is no number.
    """
    _need_columns(sheet, name, columns, key, required=("user", "item"))
    for role in ("user", "item"):
        sheet = mark(sheet, missing(columns[role]), pl.lit(f"column {columns[role]}: is empty; every row needs a {role}"))
    sheet, rating = _number(sheet, columns["rating"], "a number")
    sheet, time = _number(sheet, columns["timestamp"], "a number that grows with time, such as seconds since 1970")
    ids = [pl.col(columns[role]).str.strip_chars().alias(f"{role}_id") for role in ("user", "item")]
    if columns["timestamp"] is not None:
        # A double holds seconds exactly but not nanoseconds, so integers are read as such; parts of a second are cut off.
        exact = pl.col(columns["timestamp"]).str.strip_chars().cast(pl.Int64, strict=False)
        time = pl.coalesce(exact, time.floor().cast(pl.Int64, strict=False))
    chosen = sheet.select(*ids, rating.alias("rating"), time.cast(pl.Int64).alias("timestamp"), LINE, PROBLEM)
    good, bad = sift(chosen, name, share)
    return Raw(good, pl.DataFrame(), {"interaction_rows": sheet.height, "bad_interaction_rows": bad})


def items_of(sheet: pl.DataFrame, name: str, share: float, columns: Columns, key: str, separator: str) -> Raw:
    """Turn cells into checked items; columns: item, title, description, categories; separator: between categories.

    An item without any text gets its id as title, and is counted. Raises ValueError when that is so for all of them, for a
    missing column, and for more than `share` rows without an id or with the id of an earlier row.
    """
    _need_columns(sheet, name, columns, key, required=("item",))
    item = columns["item"]
    sheet = mark(sheet, missing(item), pl.lit(f"column {item}: is empty; every row needs an item"))
    sheet = sheet.with_columns(pl.col(item).str.strip_chars())
    first = pl.col(LINE).min().over(item)
    again = pl.col(PROBLEM).is_null() & (pl.col(LINE) > first)
    sheet = mark(sheet, again, pl.format(f"column {item} = {{}}: occurs a second time (first at {{}})", item, first))
    texts = (_text(columns[role]).alias(role) for role in ("title", "description"))
    categories = _categories(sheet, columns["categories"], separator).alias("categories")
    good, bad = sift(sheet.select(pl.col(item).alias("item_id"), *texts, categories, LINE, PROBLEM), name, share)
    empty = (pl.col("title") == "") & (pl.col("description") == "") & (pl.col("categories").list.len() == 0)
    without = good.filter(empty).height
    if without == good.height:
        read = ", ".join(c for role, c in columns.items() if role != "item" and c) or "(none named)"
        raise ValueError(
            f"{name}: no item has text in columns {read}; set {key}.title, or {key}.items: null to use ids as titles"
        )
    good = good.with_columns(pl.when(empty).then("item_id").otherwise("title").alias("title"))
    return Raw(pl.DataFrame(), good, {"item_rows": sheet.height, "bad_item_rows": bad, "items_without_text": without})


def _need_columns(sheet: pl.DataFrame, name: str, columns: Columns, key: str, required: tuple[str, ...]) -> None:
    for role, column in columns.items():
        if column is not None:
            need_column(sheet, name, column, f"{key}.{role}" + ("" if role in required else " (null if there is none)"))


def _number(sheet: pl.DataFrame, column: str | None, what: str) -> tuple[pl.DataFrame, pl.Expr]:
    """Mark the cells that are no finite number; empty ones are null."""
    if column is None:
        return sheet, pl.lit(None, pl.Float64)
    text = pl.col(column).str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    wrong = (text != "") & ~(number.is_finite() & (number.abs() < 2**63)).fill_null(False)
    return mark(sheet, wrong, pl.format(f"column {column} = {{}}: must be {what}, or empty", pl.col(column))), number


def _text(column: str | None) -> pl.Expr:
    return (
        pl.lit("") if column is None else pl.when(missing(column)).then(pl.lit("")).otherwise(pl.col(column).str.strip_chars())
    )


def _categories(sheet: pl.DataFrame, column: str | None, separator: str) -> pl.Expr:
    """Cut a cell into its distinct categories, in their order; a Parquet file may hold lists already."""
    if column is None:
        return pl.lit([], pl.List(pl.String))
    lists = pl.col(column) if isinstance(sheet.schema[column], pl.List) else _text(column).str.split(separator)
    word = pl.element().str.strip_chars()
    return lists.list.eval(word.filter(word != "")).list.unique(maintain_order=True).fill_null([])


def join(interactions: Raw, items: Raw | None, name: str, key: str) -> Raw:
    """Put both parts together; interacted items that the items' table lacks get their id as title, and are counted.

    Raises ValueError when it lacks all of them, which means that the two files use different ids.
    """
    pairs = interactions.interactions
    used = pairs.select("item_id").unique(maintain_order=True)
    known = items.items if items else pl.DataFrame(schema={"item_id": pl.String})
    absent = used.join(known, on="item_id", how="anti", maintain_order="left")
    if items and known.height and used.height and absent.height == used.height:
        here, there = known["item_id"][0], used["item_id"][0]
        raise ValueError(f"{name}: has none of the interactions' items (it has {here!r}, they have {there!r}); set {key}.item")
    blank = absent.with_columns(
        pl.col("item_id").alias("title"), pl.lit("").alias("description"), pl.lit([], pl.List(pl.String)).alias("categories")
    )
    counts = interactions.counts | (items.counts if items else {"items_without_table": True})
    counts["items_missing_from_their_table"] = absent.height if items else 0
    return Raw(pairs, pl.concat([known, blank]) if items else blank, counts)
