"""The prompts about a user for a language model, and how its answers are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import polars as pl

from glta.data.words import LONGEST, count_words
from glta.features.text.item_texts import clean

MAX_WORDS = 5  # of one tag; a longer piece is a sentence

INTRODUCTION = "A person chose these items:"
TAGS = (
    "Describe this person's taste by exactly {k} short tags, each of one to three words, the most "
    "telling first. Answer with the tags alone, separated by commas."
)
INTERESTS = (
    "Guess what else this person would enjoy that the items above do not cover yet. Give exactly "
    "{k} further interests, each of one to three words, the likeliest first. Answer with the "
    "interests alone, separated by commas."
)

THOUGHTS = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
NUMBERING = re.compile(r"^\s*(?:[-*+•–—>#・]+|[(（]?\d{1,2}[.):．）：、]|\(?[a-z][.)]\s)\s*")  # noqa: RUF001 - signs that models write
LEAD_IN = re.compile(r"^[^,;:，、；：،؛]*[:：]\s*")  # noqa: RUF001 - "Tags:", "Here are six tags:"
SEPARATOR = re.compile(r"[,;|•，、；،؛]|\s(?=\d{1,2}[.)．]\s)")  # noqa: RUF001 - commas of many languages
QUOTES = " \t\r\"'`*_.!?()[]{}<>“”‘’«»„‚「」『』（）【】《》〈〉。！？．।؟"  # noqa: RUF001 - quotation marks that models write


def _shown(texts: Sequence[str]) -> str:
    """Return item texts as a list, one a line, after the introduction."""
    return "\n".join([INTRODUCTION, *(f"- {text}" for text in texts)])


def tags_prompt(texts: Sequence[str], k: int) -> str:
    """Return the prompt for k tags of a user whose items have these texts."""
    return f"{_shown(texts)}\n\n{TAGS.format(k=k)}"


def interests_prompt(texts: Sequence[str], k: int) -> str:
    """Return the prompt for k further interests of a user whose items have these texts."""
    return f"{_shown(texts)}\n\n{INTERESTS.format(k=k)}"


def parse_answer(answer: str, k: int) -> list[str]:
    """Return at most k distinct tags of an answer, in lower case, in the order of the answer.

    Lines, commas and semicolons of any language separate tags. Dropped are numbers of a list,
    bullets, quotes, an introduction that ends with a colon, the thoughts that some models show, and
    pieces of more than MAX_WORDS words or LONGEST characters. An answer with fewer tags gives
    fewer, or none.
    """
    storable = answer.encode("utf-8", "replace").decode()  # JSON can hold half a surrogate pair
    lines = pl.Series(THOUGHTS.sub("", storable).splitlines(), dtype=pl.String)
    found: dict[str, None] = {}  # a set that keeps the order
    for line in clean(lines).str.to_lowercase():
        line = LEAD_IN.sub("", NUMBERING.sub("", line))
        for piece in SEPARATOR.split(line):
            found.setdefault(NUMBERING.sub("", piece).strip(QUOTES))
    tags = pl.Series(list(found), dtype=pl.String)
    short = (count_words(tags) <= MAX_WORDS) & (tags.str.len_chars() <= LONGEST)
    return tags.filter(short & tags.str.contains(r"[\p{L}\p{N}]")).head(k).to_list()


def filled(found: Sequence[str], spare: Iterable[str], k: int) -> list[str]:
    """Return k distinct entries: those of `found`, and then those of `spare`."""
    return list(dict.fromkeys([*found, *spare]))[:k]
