"""What methods that generate items by their codes share: scores, lists, histories, validation."""

# U users, I items, M codes of an item, N items of a window, B users of a block
from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from glta.data.histories import known_users
from glta.data.interactions import Interactions
from glta.data.sequences import Sequences
from glta.methods.base import Scorer

if TYPE_CHECKING:
    from glta.data.prepared import Prepared
    from glta.nn.generation.item_generator import ItemGenerator


@dataclass(frozen=True, eq=False)
class GeneratedScorer(Scorer):
    """Score by the log-probability of an item's codes after a user's history.

    codes: (I, M) int32. codes_per_level: how many codes each of the M places has.
    window: (U, N) int32, the newest items of each user, the newest last, -1 for no item.
    """

    codes: np.ndarray
    codes_per_level: tuple[int, ...]
    window: np.ndarray

    @property
    @abstractmethod
    def generator(self) -> ItemGenerator:
        """What generates the items. It is made once."""

    def score(self, users: np.ndarray) -> np.ndarray:
        """Score all items exactly, also of a catalogue that `recommend` searches by beams."""
        return self.generator.scores(self.window[known_users(users, len(self.window))])

    def recommend(
        self, users: np.ndarray, k: int, exclude: Interactions
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.generator.exact:
            return super().recommend(users, k, exclude)
        users = known_users(users, len(self.window))
        return self.generator.lists(self.window[users], k, *exclude.rows(users))

    def with_histories(self, histories: Sequences) -> Self:
        if histories.num_items != len(self.codes):
            raise ValueError(
                f"histories over {histories.num_items} items: this model has {len(self.codes)} "
                "items; give histories over the items of the dataset that it was trained on"
            )
        other = replace(self, window=newest(histories, self.window.shape[1]))
        # the network does not depend on histories, and takes time to load
        other.__dict__["generator"] = self.generator
        return other


def newest(histories: Sequences, max_items: int) -> np.ndarray:
    """Return the items of each user that are read, (U, max_items) int32."""
    return histories.last(max_items).item.astype(np.int32)


def generated_ndcg(prepared: Prepared, generator: ItemGenerator, window_UN: np.ndarray) -> float:
    """Measure validation NDCG@20 of the lists as they are served: scored exactly or by beams.

    At most `validation_users` of the generator's settings are asked.
    """
    from glta.evaluation.validation import lists_ndcg, validation_ndcg

    most = generator.params.validation_users
    if generator.exact:
        return validation_ndcg(
            prepared, lambda users: generator.scores(window_UN[users]), most_users=most
        )

    def found_by_beams(users: np.ndarray, k: int) -> np.ndarray:
        return generator.lists(window_UN[users], k, *prepared.train.rows(users))[0]

    return lists_ndcg(prepared, found_by_beams, most_users=most)
