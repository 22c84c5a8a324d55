"""The training step and the recommender of methods that train a map of text states."""

# U users, I items, D width of the vectors, W language width
from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glta.methods.base import Job
from glta.methods.shared.dot_product import PlacedUsers
from glta.methods.shared.text_space import text_states
from glta.methods.shared.trained import TrainedEmbeddings, TrainRanker
from glta.storage.arrays import joined, part_of


@dataclass(frozen=True)
class MappedText(TrainedEmbeddings, PlacedUsers):
    """Score by cosines of mapped text states.

    user (U, D), item (I, D): rows of length 1, or 0. weights: of the map, by name.
    """

    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def mapped(self, states_NW: np.ndarray) -> np.ndarray:
        """Map text states: (N, D) float32."""
        # it imports torch, which loading and scoring known users do without
        from glta.nn.text.state_map import mapped_rows

        return mapped_rows(self.weights, states_NW)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return super().arrays | joined({"map": self.weights})

    @classmethod
    def values_from(cls, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        own = {name: array for name, array in arrays.items() if not name.startswith("map.")}
        return own | {"weights": part_of(arrays, "map")}


class TrainMap(TrainRanker):
    """Train a map of text states with early stopping on validation NDCG@20."""

    @abstractmethod
    def recommender(
        self, job: Job, weights: dict[str, np.ndarray], states_IW: np.ndarray, **trained: Any
    ) -> MappedText:
        """Place users and items by the trained map.

        weights: of the map, by name. states_IW: text states of the items. trained: count,
        best_epoch and history of the training.
        """

    def run(self, job: Job) -> MappedText:
        from glta.nn.text.text_rankers import TextEncoder

        model, trained = self.fitted(job)
        assert isinstance(model.encoder, TextEncoder)
        weights = model.encoder.map.arrays()
        _, states_IW = text_states(job)
        return self.recommender(
            job,
            weights,
            states_IW,
            count=sum(array.size for array in weights.values()),
            best_epoch=trained.best_epoch,
            history=trained.history,
        )
