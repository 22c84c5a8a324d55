"""What a generating provider is asked about a user, and how its answer is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MAX_WORDS = 5  # of one tag; longer pieces are sentences, not tags

INTRODUCTION = "A person chose these items:"
TAGS = (
    "Describe this person's taste by exactly {k} short tags, each of one to three words, the most "
    "telling first. "
    "Answer with the tags alone, separated by commas."
)
INTERESTS = (
    "Guess what else this person would enjoy that the items above do not cover yet. Give exactly "
    "{k} further interests, each "
    "of one to three words, the likeliest first. Answer with the interests alone, separated by "
    "commas."
)

THOUGHTS = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
NUMBERING = re.compile(r"^\s*(?:[-*+•–—>#]+|\(?\d{1,2}[.):]|\(?[a-z][.)]\s)\s*")  # noqa: RUF001 - dashes that models write
LEAD_IN = re.compile(r"^[^,;:]*:\s*")  # "Tags:", "Here are six tags:"
QUOTES = " \t\r\"'`*_.!?()[]{}<>“”‘’«»"  # noqa: RUF001 - quotation marks that models write


def show(texts: Sequence[str]) -> str:
    """List item texts, one a line."""
    return "\n".join([INTRODUCTION, *(f"- {text}" for text in texts)])


def tags_prompt(texts: Sequence[str], k: int) -> str:
    """Ask for k tags of a user with these item texts."""
    return f"{show(texts)}\n\n{TAGS.format(k=k)}"


def interests_prompt(texts: Sequence[str], k: int) -> str:
    """Ask for k interests beyond these item texts."""
    return f"{show(texts)}\n\n{INTERESTS.format(k=k)}"


def parse(answer: str, k: int) -> list[str]:
    """Read at most k distinct tags from an answer, in lower case, in its order.

    Takes lines, commas and semicolons as separators; drops numbering, bullets, quotes, a lead-in
    that ends with a colon, a model's visible thoughts, and pieces of more than MAX_WORDS words.
    Returns fewer than k, down to none, where the answer holds fewer.
    """
    found: dict[str, None] = {}
    for line in THOUGHTS.sub("", answer).splitlines():
        line = LEAD_IN.sub("", NUMBERING.sub("", line.lower()))
        for piece in re.split(r"[,;|•]|\s(?=\d{1,2}[.)]\s)", line):
            tag = " ".join(NUMBERING.sub("", piece).strip(QUOTES).split())
            if any(c.isalnum() for c in tag) and len(tag.split()) <= MAX_WORDS:
                found.setdefault(tag)
    return list(found)[:k]


def filled(found: Sequence[str], spare: Iterable[str], k: int) -> list[str]:
    """Complete a list to k entries with those of `spare` that it does not hold."""
    return list(dict.fromkeys([*found, *spare]))[:k]
