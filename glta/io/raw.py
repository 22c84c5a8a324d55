"""Checked columns: cells of text become the two plain tables that are the same for every source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

from glta.io.cells import LINE, PROBLEM, Sieve, mark, missing, need_column
from glta.io.parts import TEST, TRAIN, VALID
from glta.io.streams import AGAIN

PARTS = {"train": TRAIN, "valid": VALID, "test": TEST}

Columns = dict[str, str | None]
"""What a column is for (user, item, rating, ...) to its name in the file; None: the file has none.
"""


@dataclass(frozen=True)
class Raw:
    """Hold a dataset as its source gives it.

    interactions: user_id, item_id (text), rating (float or null), timestamp (int or null), in the
    order of the file; with a column `part` (of `glta.data.splits`) where the source is split
    already.
    items: item_id, title, description (text, never null), categories (list of text), then the
    further columns that the source was asked for (null where an item has no value); one row an
    item, each with a title.
    counts: what was read, mended and dropped.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    counts: dict[str, int] = field(default_factory=dict)


def interactions_of(
    sheets: Iterable[pl.DataFrame], name: str, share: float, columns: Columns, key: str = ""
) -> Raw:
    """Turn cells into checked interactions; columns: user, item, rating, timestamp and, where the
    source is split, part; key: the parameter that names them, empty for an official format.

    Raises ValueError for a missing column, and for more than `share` rows without ids or with a
    rating that is no number.
    """
    sieve = Sieve(name, share)
    good = pl.concat([sieve.sift(_interactions(sheet, name, columns, key)) for sheet in sheets])
    sieve.check()
    refuse_shared_pairs(good, name)
    return Raw(
        good, pl.DataFrame(), {"interaction_rows": sieve.rows, "bad_interaction_rows": sieve.bad}
    )


def refuse_shared_pairs(interactions: pl.DataFrame, name: str) -> None:
    """Raise ValueError when a source's own split has a pair in two of its parts."""
    if "part" not in interactions.columns:
        return
    shared = interactions.filter(pl.col("part").n_unique().over("user_id", "item_id") > 1)
    if shared.height:
        user, item = shared.select("user_id", "item_id").row(0)
        both = shared.filter(user_id=user, item_id=item)["part"].unique()
        where = " and ".join(part for part, number in PARTS.items() if number in both)
        raise ValueError(
            f"{name}: item {item} of user {user} is in {where}; the parts of a split must not "
            "share pairs"
        )


def _interactions(sheet: pl.DataFrame, name: str, columns: Columns, key: str) -> pl.DataFrame:
    _need_columns(sheet, name, columns, key, required=("user", "item"))
    for role in ("user", "item"):
        sheet = mark(
            sheet,
            missing(columns[role]),
            pl.lit(f"column {columns[role]}: is empty; every row needs a {role}"),
        )
    sheet, rating = _number(sheet, columns["rating"], "a number")
    sheet, time = _number(
        sheet, columns["timestamp"], "a number that grows with time, such as seconds since 1970"
    )
    ids = [pl.col(columns[role]).str.strip_chars().alias(f"{role}_id") for role in ("user", "item")]
    if columns["timestamp"] is not None:
        # A double holds seconds exactly but not nanoseconds, so integers are read as such; parts of
        # a second are cut off.
        exact = pl.col(columns["timestamp"]).str.strip_chars().cast(pl.Int64, strict=False)
        time = pl.coalesce(exact, time.floor().cast(pl.Int64, strict=False))
    values = [*ids, rating.alias("rating"), time.cast(pl.Int64).alias("timestamp")]
    if (part := columns.get("part")) is not None:
        known = pl.col(part).replace_strict(PARTS, default=None, return_dtype=pl.Int8)
        sheet = mark(
            sheet,
            known.is_null(),
            pl.format(
                f"column {part} = {{}}: must be {', '.join(PARTS)}", pl.col(part).fill_null("")
            ),
        )
        values.append(known.alias("part"))
    return sheet.select(*values, LINE, PROBLEM)


def items_of(
    sheets: Iterable[pl.DataFrame],
    name: str,
    share: float,
    columns: Columns,
    key: str = "",
    separator: str = "|",
    only: pl.DataFrame | None = None,
    features: Sequence[str] = (),
) -> Raw:
    """Turn cells into checked items; columns: item, title, description, categories; separator:
    between categories; features: further columns to keep, with the type that the sheets give them.

    only: a frame of the item_ids to keep, for catalogues much larger than what was interacted with;
    the first of several rows of an id is then kept and the others counted. An item without any text
    gets its id as title, and is counted. Raises ValueError when that is so for all of them, for a
    missing column, and for more than `share` rows without an id or, where all are kept, with the id
    of an earlier row.
    """
    sieve, parts, rows, example = Sieve(name, share), [], 0, None
    for sheet in sheets:
        part = _items(sheet, name, columns, key, separator, features)
        rows, example = rows + part.height, example or part["item_id"].drop_nulls().first()
        if only is not None:
            part = pl.concat(
                [
                    part.join(only, on="item_id", how="semi"),
                    part.filter(pl.col(PROBLEM).is_not_null()),
                ]
            )
        parts.append(part)
    items = pl.concat(parts)
    repeated = 0
    if only is None:
        first = pl.col(LINE).min().over("item_id")
        again = pl.col(PROBLEM).is_null() & (pl.col(LINE) > first)
        text = f"column {columns['item']} = {{}}: occurs a second time (first at {{}})"
        items = mark(items, again, pl.format(text, "item_id", first))
    else:
        bad = pl.col(PROBLEM).is_not_null()
        distinct = (
            items.filter(~bad).sort(LINE).unique("item_id", keep="first", maintain_order=True)
        )
        whole = pl.concat([distinct, items.filter(bad)])
        items, repeated = whole, items.height - whole.height
    good = sieve.sift(items, rows)
    sieve.check()
    if only is not None and not good.height and only.height:
        raise _strangers(name, key, example, only["item_id"][0])
    empty = (
        (pl.col("title") == "")
        & (pl.col("description") == "")
        & (pl.col("categories").list.len() == 0)
    )
    without = good.filter(empty).height
    if without == good.height:
        read = ", ".join(c for role, c in columns.items() if role != "item" and c) or "(none named)"
        fix = f"set {key}.title, or {key}.items: null to use ids as titles" if key else AGAIN
        raise ValueError(f"{name}: no item has text in columns {read}; {fix}")
    good = good.with_columns(pl.when(empty).then("item_id").otherwise("title").alias("title"))
    counts = {
        "item_rows": rows,
        "bad_item_rows": sieve.bad,
        "repeated_item_rows": repeated,
        "items_without_text": without,
    }
    return Raw(pl.DataFrame(), good, counts)


def _items(
    sheet: pl.DataFrame,
    name: str,
    columns: Columns,
    key: str,
    separator: str,
    features: Sequence[str],
) -> pl.DataFrame:
    _need_columns(sheet, name, columns, key, required=("item",))
    for feature in features:
        need_column(sheet, name, feature, fix_of(key, "features"))
    item = columns["item"]
    sheet = mark(sheet, missing(item), pl.lit(f"column {item}: is empty; every row needs an item"))
    texts = (_text(columns[role]).alias(role) for role in ("title", "description"))
    categories = _categories(sheet, columns["categories"], separator).alias("categories")
    return sheet.select(
        pl.col(item).str.strip_chars().alias("item_id"),
        *texts,
        categories,
        *features,
        LINE,
        PROBLEM,
    )


def fix_of(key: str, role: str, optional: bool = False) -> str:
    """Say what to do about a column that is not there: name the parameter, or fetch an official
    file again.
    """
    return f"set {key}.{role}{' (null if there is none)' if optional else ''}" if key else AGAIN


def _need_columns(
    sheet: pl.DataFrame, name: str, columns: Columns, key: str, required: tuple[str, ...]
) -> None:
    for role, column in columns.items():
        if column is not None:
            need_column(sheet, name, column, fix_of(key, role, optional=role not in required))


def _number(sheet: pl.DataFrame, column: str | None, what: str) -> tuple[pl.DataFrame, pl.Expr]:
    """Mark the cells that are no finite number; empty ones are null."""
    if column is None:
        return sheet, pl.lit(None, pl.Float64)
    text = pl.col(column).str.strip_chars()
    number = text.cast(pl.Float64, strict=False)
    wrong = (text != "") & ~(number.is_finite() & (number.abs() < 2**63)).fill_null(False)
    return mark(
        sheet, wrong, pl.format(f"column {column} = {{}}: must be {what}, or empty", pl.col(column))
    ), number


def _text(column: str | None) -> pl.Expr:
    return (
        pl.lit("")
        if column is None
        else pl.when(missing(column)).then(pl.lit("")).otherwise(pl.col(column).str.strip_chars())
    )


def _categories(sheet: pl.DataFrame, column: str | None, separator: str) -> pl.Expr:
    """Cut a cell into its distinct categories, in their order; a Parquet file may hold lists
    already.
    """
    if column is None:
        return pl.lit([], pl.List(pl.String))
    lists = (
        pl.col(column)
        if isinstance(sheet.schema[column], pl.List)
        else _text(column).str.split(separator)
    )
    word = pl.element().str.strip_chars()
    return lists.list.eval(word.filter(word != "")).list.unique(maintain_order=True).fill_null([])


def join(interactions: Raw, items: Raw | None, name: str, key: str = "") -> Raw:
    """Put both parts together; interacted items that the items' table lacks get their id as title,
    and are counted.

    Raises ValueError when it lacks all of them, which means that the two files use different ids.
    """
    pairs = interactions.interactions
    used = pairs.select("item_id").unique(maintain_order=True)
    known = items.items if items else pl.DataFrame(schema={"item_id": pl.String})
    absent = used.join(known, on="item_id", how="anti", maintain_order="left")
    if items and known.height and used.height and absent.height == used.height:
        raise _strangers(name, key, known["item_id"][0], used["item_id"][0])
    blank = absent.with_columns(
        pl.col("item_id").alias("title"),
        pl.lit("").alias("description"),
        pl.lit([], pl.List(pl.String)).alias("categories"),
    )
    counts = interactions.counts | (items.counts if items else {"items_without_table": True})
    counts["items_missing_from_their_table"] = absent.height if items else 0
    if items:
        rows = counts["item_rows"] - counts["bad_item_rows"] - counts["repeated_item_rows"]
        counts["items_without_interactions"] = rows - (used.height - absent.height)
    whole = pl.concat([known, blank], how="diagonal") if items else blank
    return Raw(pairs, whole, counts)


def _strangers(name: str, key: str, here: str, there: str) -> ValueError:
    return ValueError(
        f"{name}: has none of the interactions' items (it has {here!r}, they have {there!r}); "
        f"{fix_of(key, 'item')}"
    )
