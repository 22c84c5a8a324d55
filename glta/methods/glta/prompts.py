"""Build prompts as sequences of words, item tokens, a user token and read-out positions."""

# B prompts of a batch, T tokens, K read-outs
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from glta.nn.language.frozen import Language

WORD, ITEM, USER, READ_OUT = range(4)

REORDER = "Put the shuffled descriptions back into the order of the items."
CHOOSE = "Choose the items that belong to this user."

Ids = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Prompt:
    """Hold one prompt of T positions.

    kind: (T,) int8, WORD, ITEM, USER or READ_OUT. value: (T,) int64, the token, item or user id.
    """

    kind: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return self.kind.size

    def followed_by(self, items: np.ndarray) -> Prompt:
        """Add items at the end of the prompt, and keep its first read-out alone."""
        first = int(np.flatnonzero(self.kind == READ_OUT)[0])
        after = first + int((self.kind == READ_OUT).sum())
        shown = np.full(items.size, ITEM, np.int8)
        read = slice(first, first + 1)
        end = slice(after, None)
        return Prompt(
            np.concatenate([self.kind[:first], shown, self.kind[read], self.kind[end]]),
            np.concatenate([self.value[:first], items, self.value[read], self.value[end]]),
        )


def packed(prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
    """Join prompts into arrays to be saved: ends (B,), and kind and value of all positions."""
    return {
        "ends": np.cumsum([len(p) for p in prompts]),
        "kind": np.concatenate([p.kind for p in prompts]),
        "value": np.concatenate([p.value for p in prompts]).astype(np.int32),
    }


def unpacked(arrays: Mapping[str, np.ndarray]) -> list[Prompt]:
    """Restore the prompts that `packed` joined."""
    kind = arrays["kind"]
    value = arrays["value"].astype(np.int64)
    starts = [0, *arrays["ends"].tolist()]
    return [Prompt(kind[a:b], value[a:b]) for a, b in pairwise(starts)]


def words(ids: Iterable[int]) -> list[tuple[int, int]]:
    return [(WORD, i) for i in ids]


def nodes(kind: int, ids: Iterable[int]) -> list[tuple[int, int]]:
    return [(kind, int(i)) for i in ids]


class Templates:
    """Build the prompts of both alignments. The fixed words are tokenized once.

    Read-outs come after everything else. In a causal model they would otherwise not depend on the
    whole prompt.
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
                f"a prompt has {len(parts)} tokens, but the language model reads "
                f"{self._max_tokens} at most: lower settings.glta.align_items.items_per_prompt or "
                "description_tokens, or settings.glta.align_users.context_items"
            )
        return Prompt(parts[:, 0].astype(np.int8), parts[:, 1])

    def reorder(self, items: Ids, descriptions: Sequence[list[int]], shuffle: Ids) -> Prompt:
        """Build a prompt of item alignment: shuffled descriptions, then item tokens in true order.

        Read-out t should predict item t. descriptions: token ids of each item's text, in the order
        of items. shuffle: a permutation of their positions.
        """
        body = [*self._label[REORDER], *self._label["descriptions:"]]
        for position in shuffle:
            body += [*words(descriptions[position]), *self._label[";"]]
        body += [*self._label["items:"], *nodes(ITEM, items), *self._label["order:"]]
        return self._prompt(body, len(items))

    def choose(
        self,
        user: int | list[int],
        context: Ids,
        tags: list[int],
        interests: list[int],
        read_outs: int,
    ) -> Prompt:
        """Build a prompt of user alignment: user, context items, tags and interests.

        user: a node id, or the token ids of a written id. Each read-out should predict an item of
        the user.
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
    """Group prompts of equal length, so that no batch needs padding.

    Yields positions of prompts; with rng in random order.
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
