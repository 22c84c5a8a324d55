"""The interface of a method: fit on the prepared data, score users in blocks, save, load."""

# U users, I items, B users of a block, J new items, W width of the language model
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.params.model import Params


@dataclass(frozen=True)
class Inputs:
    """What a method may learn from; the test pairs inside `prepared` are for `evaluate` alone.

    profile: folder of the stage `profile`. pretrained: folder of the stage `pretrain` on all
    training edges.
    checkpoint: folder for the state of a training, or None to keep none.
    """

    prepared: Prepared
    profile: Path
    pretrained: Path
    checkpoint: Path | None = None


class Method(ABC):
    """Recommend items to users. Subclasses are registered in `glta.methods.registry`."""

    @classmethod
    @abstractmethod
    def fit(cls, inputs: Inputs, params: Params, seed: int) -> Self:
        """Learn from training pairs, choose on validation pairs."""

    @abstractmethod
    def score(self, users: np.ndarray) -> np.ndarray:
        """Score the catalogue for users (B,): (B, I) float32, higher is better; a fresh array that
        may be changed.
        """

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        """Score the catalogue for anybody, who is told by their items alone, without training: (B,
        I) float32, as `score`.

        history_BI: 1 where a person has an item. Raises ValueError for other items than the
        model's, and for a method that learns something about each user.
        """
        raise ValueError(
            f"{type(self).__name__} knows users by what it has learnt about each: it cannot score "
            "a list of items"
        )

    def extended(self, text_JW: np.ndarray) -> Method:
        """Return a model with J more items at the end of the catalogue, told by their text alone,
        without training.

        text_JW: the language model's pooled states, as the stage `profile` makes them. Scores of
        the other items stay as they are. Raises ValueError for a method that cannot tell an item
        without interactions.
        """
        raise ValueError(
            f"{type(self).__name__} knows items by their interactions alone: it cannot take new "
            "ones by their text"
        )

    def recommend(
        self, users: np.ndarray, k: int, exclude: Interactions, mode: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make lists for users (B,): items and scores, each (B, k), best first; -1 and -inf where
        no item is left.

        exclude: pairs that are never shown. mode: recommend.mode, for methods that make lists in
        several ways; the others rank by their scores, the lower id first among equals.
        """
        from glta.evaluation.ranking import rank_all

        return rank_all(self.score, users, k=k, exclude=exclude)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything that `load` needs into an existing folder: safetensors and JSON only."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; scores are equal to the last bit."""
