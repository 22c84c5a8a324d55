"""One clean text per item."""

# I items
from __future__ import annotations

import html

import polars as pl

from glta.features.settings import ProfileSettings

ENTITY = r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);"
TAG = r"</?[A-Za-z][^<>]*>"
CONTROL = r"[\p{Cc}\p{Zl}\p{Zp}]"
INVISIBLE = r"\p{Cf}"  # soft hyphens, zero-width spaces, marks of direction


def item_texts(items: pl.DataFrame, params: ProfileSettings) -> pl.DataFrame:
    """Write each item's text: the columns of params.text in this order, cleaned, cut at
    params.max_words words.

    items: columns item, item_id, title, description, categories (list of text). Categories are
    joined by ", ", columns by ". ". An item without any text gets its id. Returns columns item,
    text, in the order of items; never empty.
    """
    columns = [column for column in dict.fromkeys(params.text) if column in items.columns]
    lists = [column for column in columns if isinstance(items.schema[column], pl.List)]
    flat = items.with_columns(
        pl.col(lists).cast(pl.List(pl.String)).list.join(", ", ignore_nulls=True)
    )
    parts = {column: clean(flat[column]).str.strip_chars_end(" .,;") for column in columns}
    texts = pl.DataFrame({**parts, "item_id": clean(items["item_id"].cast(pl.String))})
    filled = [pl.when(pl.col(column) != "").then(pl.col(column)) for column in columns]
    joined = pl.concat_str(filled, separator=". ", ignore_nulls=True) if columns else pl.lit("")
    cut = joined.str.split(" ").list.head(params.max_words).list.join(" ")
    number = pl.format("item {}", pl.Series("item", items["item"]))
    text = (
        pl.when(cut != "")
        .then(cut)
        .when(pl.col("item_id") != "")
        .then(pl.col("item_id"))
        .otherwise(number)
    )
    return pl.DataFrame({"item": items["item"], "text": texts.select(text.alias("text"))["text"]})


def clean(texts: pl.Series) -> pl.Series:
    """Resolve HTML entities, drop HTML tags and control characters, and put single spaces between
    words; null gives "".
    """
    texts = texts.fill_null("")
    for _ in range(2):  # shops escape twice: &amp;quot;
        texts = unescape(texts)
    return (
        texts.str.replace_all(TAG, " ")
        .str.replace_all(CONTROL, " ")
        .str.replace_all(INVISIBLE, "")
        .str.normalize("NFC")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
    )


def unescape(texts: pl.Series) -> pl.Series:
    """Replace HTML entities by their characters. Unknown entities stay."""
    found = texts.str.extract_all(ENTITY).explode().drop_nulls().unique().sort().to_list()
    return (
        texts.str.replace_many(found, [html.unescape(entity) for entity in found])
        if found
        else texts
    )
