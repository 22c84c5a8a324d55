"""Turn the templates of the alignment tasks into prompts of words and codes."""

# I items, M codes of an item
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from glta.methods.semantic_convergence.spec import SLOTS, TaskSettings
from glta.nn.language.code_language import Answered, CodeLanguage

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
        self.texts = language.tokens(texts, settings.text_tokens)
        self.words = [word_tokens(language.tokens(_words(text))) for text in texts]
        self.templates = {
            task: [self._parts(language, text) for text in getattr(settings.templates, task)]
            for task in SLOTS
        }
        self.comma = language.tokens([","])[0]

    @staticmethod
    def _parts(language, template: str) -> list[Tokens | str]:
        """Split a template into tokens of words and names of slots."""
        pieces = re.split(r"\{(\w+)\}", template)
        words = iter(language.tokens([piece.strip() or " " for piece in pieces[::2]]))
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

    @property
    def longest_frame(self) -> int:
        """Tokens of the longest template without its slots, and of the begin."""
        parts = chain.from_iterable(self.templates.values())
        return len(self.begin) + max(
            sum(len(part) for part in template if not isinstance(part, str)) for template in parts
        )


def answered(token: Tokens, num_answer: int) -> Answered:
    """Mark the last tokens of a prompt as its answer."""
    answer = np.zeros(len(token), bool)
    answer[len(token) - num_answer :] = True
    return Answered(np.array(token, np.int64), answer)


def word_tokens(tokens: Sequence[Tokens]) -> list[Tokens]:
    """Drop words without a token."""
    return [row for row in tokens if row]


def _words(text: str) -> list[str]:
    """Return the words of a text that a person may search for: those of four letters and more."""
    return list(dict.fromkeys(re.findall(r"\w{4,}", text.lower())))
