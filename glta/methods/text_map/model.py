"""Text map: text-kNN in a space that is learnt from the interactions."""

# U users, I items, J new items, W language width, D width of the vectors, B users of a block
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.methods.base import Job
from glta.methods.shared.mapped_text import MappedText, TrainMap
from glta.methods.shared.text_space import lengths, mean_state, text_states, unit_rows, users_among
from glta.methods.text_map.spec import TextMapSettings

if TYPE_CHECKING:
    from glta.nn.text.text_rankers import LeaveOneOutRanker


@dataclass(frozen=True, kw_only=True)
class TextMap(MappedText):
    """Score by the cosine of an item's mapped text and the mean of those of the user's items.

    length: (I,), the lengths of the mapped items before scaling. mean: (W,), which is subtracted
    from text states before they are mapped.
    """

    name = "text-map"
    length: np.ndarray
    mean: np.ndarray

    @classmethod
    def of(
        cls,
        weights: dict[str, np.ndarray],
        states_IW: np.ndarray,
        train: Interactions,
        **trained: Any,
    ) -> Self:
        """Place users and items. trained: count, best_epoch and history of the training."""
        from glta.nn.text.state_map import mapped_rows

        mean = mean_state(states_IW, train)
        placed = mapped_rows(weights, states_IW - mean)
        item = unit_rows(placed)
        length = lengths(placed)
        user = users_among(history_matrix(train), item, length)
        return cls(user, item, weights=weights, length=length, mean=mean, **trained)

    def placed(self, history_BI: csr_array) -> np.ndarray:
        return users_among(history_BI, self.item, self.length)

    def extended(self, text_JW: np.ndarray) -> Self:
        vectors = self.mapped(text_JW - self.mean)
        return replace(
            self,
            item=np.concatenate([self.item, unit_rows(vectors)]),
            length=np.concatenate([self.length, lengths(vectors)]),
        )


class TrainTextMap(TrainMap):
    """Train the map by leave-one-out: an item of a user is predicted from the user's other items.

    z_i = f(x_i - mean x), where x_i is the text state of an item and f the map. The vector of user
    u for the target i is the mean of z_j over the training items j of u but i. The loss is the
    cross-entropy of i among all items that u lacks, with logits cos / temperature.
    """

    result = TextMap

    def ranker(self, job: Job, device: str) -> LeaveOneOutRanker:
        from glta.nn.text.text_rankers import LeaveOneOutRanker, MappedItems

        settings = job.own(TextMapSettings)
        train = job.prepared.train
        _, states = text_states(job)
        centred = states - mean_state(states, train)
        encoder = MappedItems(train, centred, settings, seed=job.seed, device=device)
        return LeaveOneOutRanker(encoder, settings, train)

    def recommender(
        self, job: Job, weights: dict[str, np.ndarray], states_IW: np.ndarray, **trained: Any
    ) -> TextMap:
        return TextMap.of(weights, states_IW, job.prepared.train, **trained)
