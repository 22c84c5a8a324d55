"""Build the prompts of new users, who were not in training, from their items."""

# I items, B users, T terms, D graph width
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.interactions import Interactions
from glta.features.text.extractive import Terms, extract, similar_terms
from glta.methods.glta.settings import AlignUsersSettings
from glta.methods.glta.user_prompts import UserPrompts, candidates
from glta.methods.shared.graph_nodes import Nodes
from glta.nn.language.frozen import Language
from glta.nn.language.node_prompts import Prompt
from glta.storage.arrays import joined, part_of, sparse_arrays, sparse_from


@dataclass(frozen=True)
class NewUsers:
    """Build prompts and evidence of users without a node. message (I, D): see `fold_in`.

    linked: (I,) bool, the items with training users. Prompts show no others. words: the terms of
    the items and the training pairs, from which tags and interests are extracted. None when a
    provider wrote the words of training users: it is not asked again, and prompts of new users have
    no words. text (I, W): see `scaled_texts`; None without evidence.
    """

    message: np.ndarray
    linked: np.ndarray
    words: tuple[Terms, Interactions] | None
    num_tags: int
    num_interests: int
    text: np.ndarray | None = None

    def prompts(
        self, language: Language, history_BI: csr_array, nodes: Nodes, params: AlignUsersSettings
    ) -> list[Prompt]:
        """Build one prompt for each user. nodes: their vectors, and those of the items.

        A history may have more items than fit. The items that are shown then depend on the history
        alone.
        """
        users, item = history_BI.nonzero()
        pairs = Interactions.of(users, item, *history_BI.shape)
        tags = interests = [""] * pairs.num_users
        if self.words:
            found = extract(
                self.words[0],
                pairs,
                num_tags=self.num_tags,
                num_interests=self.num_interests,
                similar=self._similar,
            )
            tags, interests = (
                found[name].list.join(", ").to_list() for name in ("tags", "interests")
            )
        # users have tokens here, so the second argument, their ids, is not used
        build = UserPrompts.of(language, tags, tags, interests, params)
        if build.from_candidates:
            shown = candidates(nodes, pairs, params.context_items, linked_I=self.linked)
        else:
            everything = (pairs.items_of(user) for user in range(pairs.num_users))
            shown = [items[self.linked[items]] for items in everything]
        return [
            build.one(user, np.random.default_rng(items).permutation(items))
            for user, items in enumerate(shown)
        ]

    @cached_property
    def _similar(self) -> np.ndarray | None:
        """Which terms go together for the users of training, (T, T) float32; None without words.

        It is kept for all calls, since it takes most of the time of one: at most 64 MiB.
        """
        return similar_terms(*self.words) if self.words else None

    def arrays(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays to be saved, and all other values as JSON."""
        arrays = {"message": self.message, "linked": self.linked}
        if self.text is not None:
            arrays["text"] = self.text
        names = None
        if self.words:
            terms, train = self.words
            pairs = {
                "user": train.user,
                "item": train.item,
                "shape": np.array([train.num_users, train.num_items]),
            }
            arrays |= joined({"train": pairs}) | sparse_arrays("terms", terms.item)
            names = terms.names.tolist()
        about = {"names": names, "num_tags": self.num_tags, "num_interests": self.num_interests}
        return arrays, about

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray], about: Mapping[str, Any]) -> Self:
        """Restore an object from what `arrays` returned."""
        words = None
        if about["names"] is not None:
            train = part_of(arrays, "train")
            pairs = Interactions(train["user"], train["item"], *train["shape"].tolist())
            words = Terms(np.array(about["names"], object), sparse_from("terms", arrays)), pairs
        return cls(
            arrays["message"],
            arrays["linked"],
            words,
            about["num_tags"],
            about["num_interests"],
            arrays.get("text"),
        )
