"""Prompts as sequences of words, item tokens, a user token and read-out positions."""

# B prompts of a batch, T tokens, K read-outs
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from glta.nn.language.frozen import Language

WORD, ITEM, USER, READ_OUT = range(4)

REORDER = "Put the shuffled descriptions back into the order of the items."
CHOOSE = "Choose the items that belong to this user."


@dataclass(frozen=True)
class Prompt:
    """Hold one prompt: kind (T,) int8 (WORD, ITEM, USER or READ_OUT), value (T,) int64 (token, item
    or user id).
    """

    kind: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return self.kind.size


def words(ids: Iterable[int]) -> list[tuple[int, int]]:
    return [(WORD, i) for i in ids]


def nodes(kind: int, ids: Iterable[int]) -> list[tuple[int, int]]:
    return [(kind, int(i)) for i in ids]


class Templates:
    """Build the prompts of both stages. The words of the slots are tokenized once.

    Read-outs come after everything else: what is to be read must have seen the whole prompt, also
    in a causal model.
    """

    def __init__(self, language: Language):
        labels = (
            REORDER,
            CHOOSE,
            "descriptions:",
            "items:",
            "user:",
            "tags:",
            "interests:",
            "order:",
            "answer:",
            ";",
        )
        self._label = dict(zip(labels, (words(t) for t in language.tokens(labels)), strict=True))
        self._prefix, self._suffix = (words(part) for part in language.frame)
        self._placeholder = language.placeholder
        self._max_tokens = language.max_tokens

    def _prompt(self, body: list[tuple[int, int]], read_outs: int) -> Prompt:
        read = [(READ_OUT, self._placeholder)] * read_outs
        parts = np.array([*self._prefix, *body, *read, *self._suffix], np.int64)
        if len(parts) > self._max_tokens:
            raise ValueError(
                f"a prompt of {len(parts)} tokens exceeds the language model's "
                f"{self._max_tokens}: lower "
                "align_items.items_per_prompt or description_tokens, or align_users.context_items"
            )
        return Prompt(parts[:, 0].astype(np.int8), parts[:, 1])

    def reorder(
        self, items: Sequence[int], descriptions: Sequence[list[int]], shuffle: Sequence[int]
    ) -> Prompt:
        """Stage 2: shuffled descriptions, item tokens in true order; read-out t is to yield item t.

        descriptions: token ids of each item's text, in the order of items; shuffle: a permutation
        of their positions.
        """
        body = [*self._label[REORDER], *self._label["descriptions:"]]
        for position in shuffle:
            body += [*words(descriptions[position]), *self._label[";"]]
        body += [*self._label["items:"], *nodes(ITEM, items), *self._label["order:"]]
        return self._prompt(body, len(items))

    def choose(
        self,
        user: int | list[int],
        context: Sequence[int],
        tags: list[int],
        interests: list[int],
        read_outs: int,
    ) -> Prompt:
        """Stage 3: the user (a node, or the words of an id), context items, profile and prediction
        tokens.
        """
        who = words(user) if isinstance(user, list) else nodes(USER, [user])
        body = [*self._label[CHOOSE], *self._label["user:"], *who]
        if len(context):
            body += [*self._label["items:"], *nodes(ITEM, context)]
        if tags:
            body += [*self._label["tags:"], *words(tags)]
        if interests:
            body += [*self._label["interests:"], *words(interests)]
        body += self._label["answer:"]
        return self._prompt(body, read_outs)


def equal_length_batches(
    lengths: np.ndarray, batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[np.ndarray]:
    """Group prompts of equal length, so that no batch holds padding.

    Yields positions; with rng in random order.
    """
    batches = []
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        if rng is not None:
            rng.shuffle(same)
        batches += [same[start : start + batch_size] for start in range(0, same.size, batch_size)]
    order = rng.permutation(len(batches)) if rng is not None else range(len(batches))
    for index in order:
        yield batches[index]
