"""Prompts of people who came after training, made of their items alone."""

# I items, B people, D graph width
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.interactions import Interactions
from glta.features.text.extractive import Terms, extract
from glta.methods.glta.prompts import Prompt
from glta.methods.glta.user_alignment import UserPrompts
from glta.nn.language.frozen import Language
from glta.params.model import AlignUsersSettings
from glta.storage.arrays import (
    joined,
    load_arrays,
    part_of,
    save_arrays,
    sparse_arrays,
    sparse_from,
)


@dataclass(frozen=True)
class Newcomers:
    """Build the prompts of people without a node. message (I, D): see `fold_in`.

    terms, train: what tags and interests are extracted with, of the items and of the training
    users; None where a provider wrote them, who is not asked again: prompts then go without.
    """

    message: np.ndarray
    words: tuple[Terms, Interactions] | None
    num_tags: int
    num_interests: int

    def prompts(
        self, language: Language, history_BI: csr_array, params: AlignUsersSettings
    ) -> list[Prompt]:
        """Build one prompt a person; their context items, if there are more than fit, are drawn by
        the items themselves.
        """
        people, item = history_BI.nonzero()
        pairs = Interactions.of(people, item, *history_BI.shape)
        tags = interests = [""] * pairs.num_users
        if self.words:
            found = extract(*self.words, self.num_tags, self.num_interests, of=pairs)
            tags, interests = (
                found[name].list.join(", ").to_list() for name in ("tags", "interests")
            )
        build = UserPrompts.of(
            language, tags, tags, interests, params
        )  # with a user token, the ids are not read
        histories = [pairs.items_of(person) for person in range(pairs.num_users)]
        return [
            build.one(p, np.random.default_rng(items).permutation(items))
            for p, items in enumerate(histories)
        ]

    def save(self, folder: Path) -> None:
        """Write newcomers.safetensors."""
        arrays, names = {"message": self.message}, None
        if self.words:
            terms, train = self.words
            pairs = {
                "user": train.user,
                "item": train.item,
                "shape": np.array([train.num_users, train.num_items]),
            }
            arrays |= joined({"train": pairs}) | sparse_arrays("terms", terms.item)
            names = terms.names.tolist()
        meta = {"names": names, "num_tags": self.num_tags, "num_interests": self.num_interests}
        save_arrays(folder / "newcomers.safetensors", arrays, meta)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        arrays, meta = load_arrays(folder / "newcomers.safetensors")
        words = None
        if meta["names"] is not None:
            train = part_of(arrays, "train")
            pairs = Interactions(train["user"], train["item"], *train["shape"].tolist())
            words = Terms(np.array(meta["names"], object), sparse_from("terms", arrays)), pairs
        return cls(arrays["message"], words, meta["num_tags"], meta["num_interests"])
