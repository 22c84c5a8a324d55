"""Build the prompts of both alignments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glta.nn.language.frozen import Language
from glta.nn.language.node_prompts import (
    ITEM,
    READ_OUT,
    USER,
    WORD,
    Positions,
    Prompt,
    nodes,
    words,
)

REORDER = "Put the shuffled descriptions back into the order of the items."
CHOOSE = "Choose the items that belong to this user."

Ids = Sequence[int] | np.ndarray


class Templates:
    """Build the prompts of both alignments. The fixed words are tokenized once.

    A model with a chat template has the task as its system line, and the slots as the user's words,
    as published. Read-outs come after everything else. In a causal model they would otherwise not
    depend on the whole prompt.
    """

    def __init__(self, language: Language):
        labels = (
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
        self._frame = {task: _frame(language, task) for task in (REORDER, CHOOSE)}
        self._placeholder = language.placeholder
        self._max_tokens = language.max_tokens

    def _prompt(self, task: str, body: Positions, read_outs: int) -> Prompt:
        before, after, end = self._frame[task]
        read = [(READ_OUT, self._placeholder)] * read_outs
        parts = [*before, *body, *after, *read, *end]
        if len(parts) > self._max_tokens:
            raise ValueError(
                f"a prompt has {len(parts)} tokens, but the language model reads "
                f"{self._max_tokens} at most: lower settings.glta.align_items.items_per_prompt or "
                "description_tokens, or settings.glta.align_users.context_items"
            )
        return Prompt.of(parts)

    def reorder(
        self,
        items: Ids,
        descriptions: Sequence[list[int]],
        shuffle: Ids,
        hidden: Ids = (),
    ) -> Prompt:
        """Build a prompt of item alignment: shuffled descriptions, then item tokens in true order.

        Read-out t should predict item t. descriptions: token ids of each item's text, in the order
        of items. shuffle: a permutation of their positions. hidden: positions whose item token is
        replaced by the placeholder of read-outs.
        """
        body = [*self._label["descriptions:"]]
        for position in shuffle:
            body += [*words(descriptions[position]), *self._label[";"]]
        shown = nodes(ITEM, items)
        for position in hidden:
            shown[position] = (WORD, self._placeholder)
        body += [*self._label["items:"], *shown, *self._label["order:"]]
        return self._prompt(REORDER, body, len(items))

    def choose(
        self,
        user: int | list[int],
        context: Ids,
        tags: list[int],
        interests: list[int],
        read_outs: int,
    ) -> Prompt:
        """Build a prompt of user alignment: user, context items, tags and interests.

        user: a node id, or the token ids of a written id. context: the items that are shown. Each
        read-out should predict an item of the user.
        """
        who = words(user) if isinstance(user, list) else nodes(USER, [user])
        body = [*self._label["user:"], *who]
        if len(context):
            body += [*self._label["items:"], *nodes(ITEM, context)]
        if tags:
            body += [*self._label["tags:"], *words(tags)]
        if interests:
            body += [*self._label["interests:"], *words(interests)]
        body += self._label["answer:"]
        return self._prompt(CHOOSE, body, read_outs)


def _frame(language: Language, task: str) -> tuple[Positions, Positions, Positions]:
    """Return the words before the slots, between slots and read-outs, and after the read-outs."""
    chat = language.chat_frame(task)
    if chat:
        return words(chat[0]), words(chat[1]), []
    prefix, suffix = language.frame
    return words([*prefix, *language.tokens([task])[0]]), [], words(suffix)
