"""Turn HTML into the text that a reader sees."""

from __future__ import annotations

import html
import re

import polars as pl
from selectolax.lexbor import LexborHTMLParser

UNSEEN = "script style template noscript iframe object svg canvas audio video rt rp"
"""Elements whose content is no part of the text. rt and rp tell how a Japanese word is read."""

BLOCKS = """address article aside blockquote br button caption center dd details dialog dir div dl
    dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr img input legend li
    main menu nav ol optgroup option p pre search section select summary table tbody td textarea
    tfoot th thead title tr ul"""
"""Elements that part words. Those within a line do not: H<sub>2</sub>O is one word."""

OTHERS = """a abbr acronym applet area b base basefont bdi bdo big body cite code col colgroup data
    datalist del dfn em embed font head html i ins kbd label link map mark marquee math meta meter
    nobr output param picture progress q ruby s samp slot small source span strike strong sub sup
    time track tt u var wbr"""
"""All other elements of HTML."""

ENTITY = r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);"
NAMES = "|".join([*UNSEEN.split(), *BLOCKS.split(), *OTHERS.split()])
WITH_ATTRIBUTE = r"<[a-z][^\s<>]*\s[^<>]*="
TAG = re.compile(
    rf"</?(?:{NAMES}|[a-z]\w*[-:][\w:-]*)[\s/>]|{WITH_ATTRIBUTE}|<!--|<!doctype\s|<!\[CDATA\[|<\?xml",
    re.IGNORECASE,
)
CUT_TAG = re.compile(rf"{WITH_ATTRIBUTE}|</?(?:{NAMES})\s*/?\Z|<!--", re.IGNORECASE)
CELL = re.compile(r"</?(?:caption|tbody|td|tfoot|th|thead|tr)[\s/>]", re.IGNORECASE)
"""Tags that a parser leaves out where no table has begun, as in a piece of one."""
SIGN = re.compile(rf"<|&(?!{ENTITY[1:]})")


def without_markup(texts: pl.Series) -> pl.Series:
    """Return the texts of HTML pages or parts of them, without tags, comments, scripts and styles.

    Entities become characters; unknown ones stay. A "<" that begins no tag of HTML stays too, as in
    "1 < 2", "<3" or "vector<int>". texts: without null.
    """
    marked = texts.str.contains(r"<[A-Za-z/!?]")
    plain = unescape(texts)
    if not marked.any():
        return plain
    read = texts.filter(marked).map_elements(_read, pl.String)
    return plain.clone().scatter(marked.arg_true(), read)


def unescape(texts: pl.Series) -> pl.Series:
    """Replace HTML entities by their characters. Unknown entities stay."""
    found = texts.str.extract_all(ENTITY).explode().drop_nulls().unique().sort().to_list()
    if not found:
        return texts
    return texts.str.replace_many(found, [html.unescape(entity) for entity in found])


def _read(text: str) -> str:
    """Read one text as a browser does, with spaces around blocks."""
    last = text.rfind(">")

    def kept(sign: re.Match) -> str:
        """Escape a sign that is no markup, so that the parser takes it for text."""
        if sign[0] == "&":
            return "&amp;"
        pattern = TAG if sign.start() < last else CUT_TAG  # a text may end within a tag
        if CELL.match(text, sign.start()):
            return " <"
        return "<" if pattern.match(text, sign.start()) else "&lt;"

    page = LexborHTMLParser(SIGN.sub(kept, text), is_fragment=True)
    if page.root is None:
        return ""
    page.strip_tags(UNSEEN.split())
    for block in page.css(",".join(BLOCKS.split())):
        block.insert_before(" ")
        block.insert_after(" ")
    return page.text()
