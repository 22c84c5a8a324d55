"""The prompts of GAL-Rec: a node alone, with its neighbours, and with neighbours of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from glta.methods.gal_rec.neighbours import Neighbours
from glta.nn.language.frozen import Language
from glta.nn.language.node_prompts import (
    ITEM,
    READ_OUT,
    TASK,
    USER,
    Positions,
    Prompt,
    nodes,
    words,
)

HOPS = (0, 1, 2)


class Side(IntEnum):
    """The kind of node that a prompt is about."""

    USERS = 0
    ITEMS = 1


KINDS = {Side.USERS: (USER, ITEM), Side.ITEMS: (ITEM, USER)}
"""The kind of token of a node, and that of its direct neighbours."""

WORDS = {
    Side.USERS: ("user", "items:", "similar users:"),
    Side.ITEMS: ("item", "users:", "similar items:"),
}
"""What stands before a node, its direct neighbours, and its neighbours over a shared node."""

View = tuple[Side, int]
"""A side and a hop."""

VIEWS: tuple[View, ...] = tuple((side, hop) for side in Side for hop in HOPS)
"""All views. Each has a trained task token."""


class ViewTemplates:
    """Build the prompts of both sides. Fixed words and item texts are tokenized once.

    texts: of the items. item_words: the tokens of an item's text that its own prompts show.

    The task token and the read-out come last, so that a causal model has read all else. The two-hop
    prompt of a user, where brackets are tokens that are no words:

        user [user] items: [item] ... similar users: [user] ... [task] [read-out]
    """

    def __init__(self, language: Language, texts: Sequence[str], item_words: int):
        labels = [label for side in Side for label in WORDS[side]]
        tokens = iter(language.tokens(labels))
        self._label = {side: [words(next(tokens)) for _ in WORDS[side]] for side in Side}
        self._texts = language.tokens(texts, item_words) if item_words else [[] for _ in texts]
        self._prefix, self._suffix = (words(part) for part in language.frame)
        self._read: Positions = [(READ_OUT, language.placeholder)]
        self._max_tokens = language.max_tokens

    def prompt(self, side: Side, hop: int, node: int, near: Neighbours) -> Prompt:
        """Build the prompt of a node for one hop.

        Raises ValueError when it is longer than the language model reads.
        """
        own, other = KINDS[side]
        label = self._label[side]
        body = [*label[0], (own, int(node))]
        if side == Side.ITEMS and node < len(self._texts):
            body += words(self._texts[node])
        if hop >= 1 and len(near.first):
            body += [*label[1], *nodes(other, near.first)]
        if hop >= 2 and len(near.second):
            body += [*label[2], *nodes(own, near.second)]
        task = [(TASK, VIEWS.index((side, hop)))]
        positions = [*self._prefix, *body, *task, *self._read, *self._suffix]
        if len(positions) > self._max_tokens:
            raise ValueError(
                f"a prompt has {len(positions)} tokens, but the language model reads "
                f"{self._max_tokens} at most: lower settings.gal-rec.first_neighbours, "
                "second_neighbours or item_words"
            )
        return Prompt.of(positions)
