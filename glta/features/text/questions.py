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

# one row a line of an answer: the place of the answer, and the pieces of the line
FOUND = pl.Schema({"place": pl.Int64(), "tag": pl.List(pl.String)})


def _shown(texts: Sequence[str]) -> str:
    """Return item texts as a list, one a line, after the introduction."""
    return "\n".join([INTRODUCTION, *(f"- {text}" for text in texts)])


def tags_prompt(texts: Sequence[str], k: int) -> str:
    """Return the prompt for k tags of a user whose items have these texts."""
    return f"{_shown(texts)}\n\n{TAGS.format(k=k)}"


def interests_prompt(texts: Sequence[str], k: int) -> str:
    """Return the prompt for k further interests of a user whose items have these texts."""
    return f"{_shown(texts)}\n\n{INTERESTS.format(k=k)}"


def parse_answers(answers: Sequence[str], k: int) -> list[list[str]]:
    """Return at most k distinct tags of each answer, in lower case, in the order of the answer.

    Lines, commas and semicolons of any language separate tags. Dropped are numbers of a list,
    bullets, quotes, an introduction that ends with a colon, the thoughts that some models show, and
    pieces of more than MAX_WORDS words or LONGEST characters. An answer with fewer tags gives
    fewer, or none.
    """
    places: list[int] = []
    lines: list[str] = []
    for place, answer in enumerate(answers):
        storable = answer.encode("utf-8", "replace").decode()  # JSON can hold half a surrogate pair
        for line in THOUGHTS.sub("", storable).splitlines():
            places.append(place)
            lines.append(line)
    cleaned = clean(pl.Series(lines, dtype=pl.String)).str.to_lowercase()
    pieces = [_pieces(line) for line in cleaned]
    found = pl.DataFrame({"place": places, "tag": pieces}, schema=FOUND).explode("tag").drop_nulls()
    tag = found["tag"]
    short = (count_words(tag) <= MAX_WORDS) & (tag.str.len_chars() <= LONGEST)
    kept = found.filter(short & tag.str.contains(r"[\p{L}\p{N}]")).unique(maintain_order=True)
    tags: list[list[str]] = [[] for _ in answers]
    for place, name in kept.group_by("place", maintain_order=True).head(k).rows():
        tags[place].append(name)
    return tags


def _pieces(line: str) -> list[str]:
    """Return what stands between the separators of a line."""
    line = LEAD_IN.sub("", NUMBERING.sub("", line))
    return [NUMBERING.sub("", piece).strip(QUOTES) for piece in SEPARATOR.split(line)]


def filled(found: Sequence[str], spare: Iterable[str], k: int) -> list[str]:
    """Return k distinct entries: those of `found`, and then those of `spare`."""
    return list(dict.fromkeys([*found, *spare]))[:k]
