"""Build the prompts of user alignment, for training and for serving."""

# U users
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from glta.data.interactions import Interactions
from glta.evaluation.ranking import NO_ITEM, rank_all
from glta.methods.glta.prompts import Templates
from glta.methods.glta.settings import AlignUsersSettings
from glta.methods.shared.graph_nodes import Nodes
from glta.nn.language.frozen import Language
from glta.nn.language.node_prompts import Prompt
from glta.training.seeds import Stream, epoch_rng

# a number of an epoch that training never reaches: it seeds the context items of serving prompts,
# for validation and test alike
SERVING = 2**31 - 1


@dataclass(frozen=True)
class UserPrompts:
    """Build the prompts of user alignment from lists with one entry for each user.

    who: the user's node id, or the token ids of the written id. tags, interests: token ids.
    """

    templates: Templates
    who: Sequence[int | list[int]]
    tags: Sequence[list[int]]
    interests: Sequence[list[int]]
    params: AlignUsersSettings

    @classmethod
    def of(
        cls,
        language: Language,
        user_ids: Sequence[str],
        tags: Sequence[str],
        interests: Sequence[str],
        params: AlignUsersSettings,
    ) -> UserPrompts:
        """Tokenize the texts of the prompts. user_ids, tags, interests: (U,) texts."""
        who: Sequence[int | list[int]] = range(len(user_ids))
        if not params.user_token:
            who = language.tokens([f"user {i}" for i in user_ids])

        def cut(texts: Sequence[str], limit: int) -> list[list[int]]:
            return language.tokens(list(texts), limit) if limit else [[] for _ in user_ids]

        return cls(
            Templates(language),
            who,
            cut(tags, params.tag_tokens),
            cut(interests, params.interest_tokens),
            params,
        )

    @property
    def from_candidates(self) -> bool:
        """Whether the items shown are candidates, and not the user's history."""
        return self.params.items_shown == "candidates"

    def one(self, user: int, context: np.ndarray) -> Prompt:
        """Build the prompt of one user. The first context_items items of context are shown."""
        return self.templates.choose(
            self.who[user],
            context[: self.params.context_items],
            self.tags[user],
            self.interests[user],
            self.params.read_outs,
        )

    def serving(self, train: Interactions, nodes: Nodes, seed: int) -> list[Prompt]:
        """Build the serving prompt of every user. The order of its items is drawn once.

        Items are drawn from `train`, or are the best candidates. nodes: of serving.
        """
        rng = epoch_rng(seed, SERVING, Stream.USER_PROMPTS)
        shown = [train.items_of(user) for user in range(train.num_users)]
        if self.from_candidates:
            count = self.params.context_items
            shown = candidates(nodes, train, count, linked_I=train.item_degree > 0)
        return [self.one(user, rng.permutation(items)) for user, items in enumerate(shown)]


def candidates(
    nodes: Nodes, known: Interactions, count: int, *, linked_I: np.ndarray
) -> list[np.ndarray]:
    """Return the items that the graph ranks highest for each user, best first.

    known: pairs of users and items that are left out. count: items of a user, fewer where not so
    many are left. linked_I: bool, the items with users in the graph; the others are left out too.
    """
    if not count:
        return [np.zeros(0, np.int64)] * known.num_users
    users = np.arange(known.num_users)
    item = nodes.item.cpu()
    user = nodes.user.cpu()
    alone = torch.from_numpy(~linked_I)

    def score(some: np.ndarray) -> torch.Tensor:
        return (user[some] @ item.T).masked_fill_(alone, -torch.inf)

    found, _ = rank_all(score, users, k=count, exclude=known)
    return [items[items != NO_ITEM] for items in found]
