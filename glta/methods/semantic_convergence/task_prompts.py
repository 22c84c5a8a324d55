"""Turn the templates of the alignment tasks into prompts of words and codes."""

# I items, M codes of an item
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import polars as pl

from glta.data.words import with_breaks
from glta.methods.semantic_convergence.spec import SLOTS, TaskSettings
from glta.nn.language.code_language import Answered, CodeLanguage
from glta.nn.language.frozen import Language

Tokens = list[int]


class TaskPrompts:
    """Write prompts. A template's words and the items' texts are tokenized once.

    texts: of the I items. codes_IM: of the items.
    """

    def __init__(
        self,
        network: CodeLanguage,
        codes_IM: np.ndarray,
        texts: Sequence[str],
        settings: TaskSettings,
    ):
        language = network.language
        self.begin = language.frame[0]
        self.end = [network.causal.end]
        self.code = network.code_tokens(codes_IM).tolist()
        self.space = before_words(language)
        self.texts = [row[: settings.text_tokens] for row in self._tokens(language, texts)]
        own = words_of(texts)
        every = [word for words in own for word in words]
        tokens = iter(self._tokens(language, every))
        self.words = [[row for _ in words if (row := next(tokens))] for words in own]
        self.templates = {
            task: [self._parts(language, text) for text in getattr(settings.templates, task)]
            for task in SLOTS
        }
        self.comma = self._tokens(language, [","])[0]

    def _tokens(self, language: Language, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize texts as they stand after other words; an empty one has no token."""
        stripped = [text.strip() for text in texts]
        return language.tokens([self.space + text if text else "" for text in stripped])

    def _parts(self, language: Language, template: str) -> list[Tokens | str]:
        """Split a template into tokens of words and names of slots."""
        pieces = re.split(r"\{(\w+)\}", template)
        words = iter(self._tokens(language, pieces[::2]))
        parts: list[Tokens | str] = [next(words)]
        for slot in pieces[1::2]:
            parts += [slot, next(words)]
        return parts

    def items(self, items: Iterable[int]) -> Tokens:
        """Return the codes of items, one after the other."""
        return list(chain.from_iterable(self.code[item] for item in items))

    def either(self, first: Tokens, second: Tokens) -> Tokens:
        """Return two candidates with a comma between them."""
        return [*first, *self.comma, *second]

    def filled(self, task: str, which: int, slots: dict[str, Tokens]) -> Tokens:
        """Return a template with its slots filled. which: the template, modulo their number."""
        templates = self.templates[task]
        parts = templates[which % len(templates)]
        return self.begin + list(
            chain.from_iterable(slots[p] if isinstance(p, str) else p for p in parts)
        )

    def history(self, items: Sequence[int]) -> np.ndarray:
        """Return the prompt after which the next item is generated, with the first template."""
        return np.array(self.filled("next_item", 0, {"history": self.items(items)}), np.int64)

    def all_of(self, items: Sequence[int], which: int) -> Answered:
        """Return a history in which every item but the first is an answer."""
        token = self.filled("next_item", which, {"history": self.items(items)})
        return answered(token, (len(items) - 1) * len(self.code[0]))

    def asked(self, task: str, which: int, slots: dict[str, Tokens], answer: Tokens) -> Answered:
        """Return a prompt with its answer at the end."""
        return answered([*self.filled(task, which, slots), *answer], len(answer))

    def longest(self, max_items: int, query_words: int) -> int:
        """Return a bound of the tokens of a prompt with its answer."""
        parts = chain.from_iterable(self.templates.values())
        frame = len(self.begin) + max(
            sum(len(part) for part in template if not isinstance(part, str)) for template in parts
        )
        codes = len(self.code[0])
        text = max((len(row) for row in self.texts), default=0)
        word = max((len(row) for words in self.words for row in words), default=0)
        pair = len(self.comma) + 2 * codes
        history = max_items * codes + pair
        texts = 3 * (text + 1) + len(self.comma) + codes
        search = query_words * word + pair
        return frame + codes + max(history, texts, search)


def answered(token: Tokens, num_answer: int) -> Answered:
    """Mark the last tokens of a prompt as its answer."""
    answer = np.zeros(len(token), bool)
    answer[len(token) - num_answer :] = True
    return Answered(np.array(token, np.int64), answer)


def before_words(language: Language) -> str:
    """Return what a tokenizer needs before a word within a text: a space, or nothing.

    Byte-level tokenizers have other tokens for words after a space; others add it themselves.
    """
    within = language.tokens(["a a"])[0][-1:]
    return "" if within == language.tokens(["a"])[0] else " "


def words_of(texts: Sequence[str]) -> list[list[str]]:
    """Return the words of texts that a person may search for.

    These are words of four letters and more, or all words of a text without such a one. Texts of
    scripts without spaces are cut between words.
    """
    broken = with_breaks(pl.Series(texts, dtype=pl.String)).to_list()
    found = []
    for text in broken:
        every = list(dict.fromkeys(re.findall(r"\w+", text.lower())))
        found.append([word for word in every if len(word) > 3] or every)
    return found
