"""One clean text per item."""

from __future__ import annotations

import unicodedata

import polars as pl

from glta.data.words import WITHOUT_SPACES, first_words
from glta.features.settings import ProfileSettings
from glta.features.text.markup import without_markup

CONTROL = r"[\p{Cc}\p{Zl}\p{Zp}]"
# The zero-width space and the joiners mean something in scripts without spaces, in scripts whose
# letters join, and in emoji. Elsewhere they are left-overs, as all other invisible characters are:
# soft hyphens, marks of direction.
INVISIBLE = r"[\p{Cf}--[\x{200B}-\x{200D}]]"
JOINER = (
    r"(^|[\p{Latin}\p{Greek}\p{Cyrillic}\p{Hebrew}\p{Hangul}\p{Han}\p{N}\p{P}\p{Z}\p{Cc}])"
    r"[\x{200C}\x{200D}]+"
)
SPACE = rf"(^|[^{WITHOUT_SPACES}\x{{200B}}])\x{{200B}}+"
WIDTHS = {
    wide: unicodedata.normalize("NFKC", wide)
    for wide in map(chr, range(0xFF01, 0xFFDD))
    if wide in "＇－" or unicodedata.category(wide)[0] in "LN"  # noqa: RUF001 - full-width signs
}
"""Letters, digits, apostrophe and hyphen of another width than usual, with the usual ones."""

ENDS = " .,;。．，、；।،؛"  # noqa: RUF001 - full stops and commas of many languages


def item_texts(items: pl.DataFrame, params: ProfileSettings) -> pl.DataFrame:
    """Write one text for each item from its title, categories and description.

    items: columns item, item_id, title, description, categories (list of text). params.text names
    the columns to use and their order. Categories are joined by ", ", columns by ". ". The text is
    cut after params.max_words words, and a word after LONGEST characters. An item without any text
    gets its id.

    Returns columns item and text, in the order of items. No text is empty.
    """
    names: list[str] = list(dict.fromkeys(params.text))
    columns = [column for column in names if column in items.columns]
    lists = [column for column in columns if isinstance(items.schema[column], pl.List)]
    as_text = pl.col(lists).cast(pl.List(pl.String)).list.join(", ", ignore_nulls=True)
    flat = items.with_columns(as_text)
    parts = {column: clean(flat[column]).str.strip_chars_end(ENDS) for column in columns}
    ids = clean(items["item_id"].cast(pl.String))
    texts = pl.DataFrame({**parts, "item_id": ids})
    filled = [pl.when(pl.col(column) != "").then(pl.col(column)) for column in columns]
    joined = pl.concat_str(filled, separator=". ", ignore_nulls=True) if columns else pl.lit("")
    number = pl.format("item {}", pl.Series("item", items["item"]))
    text = (
        pl.when(joined != "")
        .then(joined)
        .when(pl.col("item_id") != "")
        .then(pl.col("item_id"))
        .otherwise(number)
    )
    written = texts.select(text.alias("text"))["text"]
    return pl.DataFrame({"item": items["item"], "text": first_words(written, params.max_words)})


def clean(texts: pl.Series) -> pl.Series:
    """Clean texts of HTML and of control characters, with single spaces between words.

    Letters get their usual width and composed form (NFC). Null gives "".
    """
    texts = texts.fill_null("")
    for _ in range(3):  # some shops escape HTML twice: &amp;lt;br&amp;gt;
        texts = without_markup(texts)
    texts = (
        texts.str.replace_all(CONTROL, " ")
        .str.replace_all(INVISIBLE, "")
        .str.replace_all(JOINER, "$1")
        .str.replace_all(SPACE, "$1")
    )
    if texts.str.contains(r"[\x{FF01}-\x{FFDC}]").any():
        texts = texts.str.replace_many(WIDTHS)
    return texts.str.normalize("NFC").str.replace_all(r"\s+", " ").str.strip_chars()
