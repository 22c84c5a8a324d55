"""The recommender of methods that train a map of text states."""

# U users, I items, D width of the vectors, W language width
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from glta.methods.shared.dot_product import PlacedUsers
from glta.methods.shared.trained import TrainedEmbeddings
from glta.storage.arrays import joined, part_of

if TYPE_CHECKING:
    from glta.nn.graph.ranker import NodeRanker


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


def weights_of(model: NodeRanker) -> dict[str, np.ndarray]:
    """Return the weights of the map that a model has trained, by name."""
    from glta.nn.text.text_rankers import TextEncoder

    assert isinstance(model.encoder, TextEncoder)
    return model.encoder.map.arrays()
