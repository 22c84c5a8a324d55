"""One clean text per item."""

from __future__ import annotations

import html

import polars as pl

from glta.features.settings import ProfileSettings

ENTITY = r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);"
TAG = r"</?[A-Za-z][^<>]*>"
CONTROL = r"[\p{Cc}\p{Zl}\p{Zp}]"
INVISIBLE = r"\p{Cf}"  # soft hyphens, zero-width spaces, marks of direction


def item_texts(items: pl.DataFrame, params: ProfileSettings) -> pl.DataFrame:
    """Write one text for each item from its title, categories and description.

    items: columns item, item_id, title, description, categories (list of text). params.text names
    the columns to use and their order. Categories are joined by ", ", columns by ". ". The text is
    cut after params.max_words words. An item without any text gets its id.

    Returns columns item and text, in the order of items. No text is empty.
    """
    names: list[str] = list(dict.fromkeys(params.text))
    columns = [column for column in names if column in items.columns]
    lists = [column for column in columns if isinstance(items.schema[column], pl.List)]
    as_text = pl.col(lists).cast(pl.List(pl.String)).list.join(", ", ignore_nulls=True)
    flat = items.with_columns(as_text)
    parts = {column: clean(flat[column]).str.strip_chars_end(" .,;") for column in columns}
    ids = clean(items["item_id"].cast(pl.String))
    texts = pl.DataFrame({**parts, "item_id": ids})
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
    written = texts.select(text.alias("text"))["text"]
    return pl.DataFrame({"item": items["item"], "text": written})


def clean(texts: pl.Series) -> pl.Series:
    """Clean texts of HTML and of control characters, with single spaces between words.

    Entities become characters, tags are dropped. Null gives "".
    """
    texts = texts.fill_null("")
    for _ in range(2):  # some shops escape twice: &amp;quot;
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
    if not found:
        return texts
    return texts.str.replace_many(found, [html.unescape(entity) for entity in found])
