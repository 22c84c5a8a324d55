"""Words of any language: where they begin, and which spellings are of the same word.

Most scripts put spaces between words. Chinese, Japanese, Thai, Lao, Khmer, Burmese and Tibetan do
not. ICU finds their words, by the rules of Unicode's annex 29 and by its dictionaries.
"""

from __future__ import annotations

import unicodedata

import polars as pl
from icu4py.breakers import WordBreaker

LONGEST = 100
"""Characters of a word, at most. What is longer is encoded data, an address or broken text."""

BREAK = "\x1f"
"""Stands between two words that no space parts. Only `with_breaks` writes it."""

WITHOUT_SPACES = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
"""Matches a character of a script without spaces between words."""

OPENING = "([{<\"'“‘«‹„‚「『（［｛〈《【〔"  # noqa: RUF001 - brackets and quotation marks of all languages
ONE_SIGN = str.maketrans({"’": "'", "ʼ": "'", "＇": "'", "‐": "-", "‑": "-", "－": "-"})  # noqa: RUF001 - signs that look alike
NO_SIGN = dict.fromkeys(map(ord, "\u200c\u200d\u0640"))  # joiners; the line that stretches Arabic


def with_breaks(texts: pl.Series) -> pl.Series:
    """Put BREAK between words that no space parts, in texts of scripts without spaces.

    Punctuation stays with the word before it, opening brackets with the word after it. Texts of
    other scripts, and nulls, are returned as they are.
    """
    found = texts.str.contains(WITHOUT_SPACES).fill_null(False)
    if not found.any():
        return texts
    broken = texts.filter(found).map_elements(_broken, pl.String)
    return texts.clone().scatter(found.arg_true(), broken)


def first_words(texts: pl.Series, limit: int) -> pl.Series:
    """Cut texts after `limit` words, and words after LONGEST characters.

    texts: with single spaces, without null. What stands between two spaces is one word, but for
    scripts without spaces.
    """
    ended = with_breaks(texts).str.replace_all(" ", " " + BREAK, literal=True)
    shortened = ended.str.replace_all(rf"([^\s{BREAK}]{{{LONGEST}}})[^\s{BREAK}]+", "$1")
    cut = shortened.str.split(BREAK).list.head(limit).list.join("")
    return cut.str.strip_chars_end(" \u200b")


def count_words(texts: pl.Series) -> pl.Series:
    """Count the words of texts, as `first_words` does."""
    return with_breaks(texts).str.count_matches(rf"[^\s{BREAK}]+")


def same_word(word: str) -> str:
    """Return the form that all spellings of a word share: Straße and STRASSE give strasse.

    It is the case folding of Unicode, with one sign for all apostrophes and one for all hyphens.
    Turkish capital İ gives i.
    """
    folded = word.translate(ONE_SIGN).translate(NO_SIGN).casefold().replace("i\u0307", "i")
    return unicodedata.normalize("NFC", folded)


def _broken(text: str) -> str:
    """Put BREAK into one text, as `with_breaks` does."""
    parts: list[str] = []
    opened = False
    last = " "
    # the segments themselves, as ICU's offsets count UTF-16 units
    for segment in WordBreaker(text, "und"):
        opens = segment in OPENING
        begins = opens or unicodedata.category(segment[0])[0] in "LN"
        if begins and not opened and not last.isspace() and (_dense(last) or _dense(segment[0])):
            parts.append(BREAK)
        parts.append(segment)
        opened = opens
        last = segment[-1]
    return "".join(parts)


def _dense(character: str) -> bool:
    """Tell whether a character, or a mark of punctuation, is of a script without spaces."""
    if "\u0e00" <= character <= "\u109f" or "\u1780" <= character <= "\u17ff":
        return True  # Thai, Lao, Tibetan, Burmese; Khmer
    return unicodedata.east_asian_width(character) in "WF" or character == "\u200b"
