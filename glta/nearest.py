"""Name the valid word that a wrong one was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

ENOUGH = 0.7
"""The least likeness of a suggestion: twice the equal letters, divided by all letters of both."""
SHORTEST_PART = 3
"""Letters that a word must have to be near all words that contain it; else it must stand alone."""
LISTED = 20
"""Messages write out all valid words up to this many."""


def near(word: str, valid: Iterable[str], count: int = 1) -> list[str]:
    """Return up to `count` valid words that are near a wrong one, the nearest first.

    Upper and lower case count as equal, and so do `_` and `-`. Empty where no word is near: a
    wrong suggestion is worse than none.
    """
    found = [(likeness, name) for name in valid if (likeness := _likeness(word, name)) >= ENOUGH]
    return [name for _, name in sorted(found, key=lambda pair: -pair[0])[:count]]


def _likeness(a: str, b: str) -> float:
    """Return the share of equal letters; at least ENOUGH where one word is a part of the other."""
    a, b = (word.lower().replace("_", "-") for word in (a, b))
    matcher = difflib.SequenceMatcher(None, a, b)
    short, long = sorted((a, b), key=len)
    part = short in (long if len(short) >= SHORTEST_PART else long.split("-"))
    if not part and matcher.real_quick_ratio() < ENOUGH:
        return 0.0
    return max(matcher.ratio(), ENOUGH * part)


def hint(word: str, valid: Iterable[str], count: int = 1, listed_by: str = "") -> str:
    """End a message about an unknown word: with the nearest ones, or where all are listed.

    listed_by: the command that lists the valid words. Without it, a short list is written out.
    """
    words = list(valid)
    if found := near(word, words, count):
        verb = "is" if len(found) == 1 else "are"
        return f"; nearest {verb} {', '.join(found)}"
    if listed_by:
        return f"; `{listed_by}` lists all"
    if 0 < len(words) <= LISTED:
        return f"; valid {'is' if len(words) == 1 else 'are'} {', '.join(words)}"
    return ""
