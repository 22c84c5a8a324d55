"""The two interfaces of a method: a `Step` trains, a `Recommender` serves."""

# U users, I items, B users of a block, J new items, W width of the language model
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from scipy.sparse import csr_array

from glta.config import Section
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared

S = TypeVar("S", bound=Section)


class Artefact(Protocol):
    """What a step makes. Its class saves it, and loads it again, in one place."""

    def save(self, folder: Path) -> None:
        """Write it into an existing folder: safetensors, JSON and Parquet only."""


def ignore(record: dict[str, Any]) -> None:
    """Take the record of an epoch and do nothing."""


@dataclass(frozen=True)
class Job:
    """Hold what a step may use: the folders it reads, its own settings, a seed. Nothing else.

    sources: folders by the names in `StepSpec.reads`. settings: of the method, by the names in
    `StepSpec.settings`, or all under "". shared: the sections in `StepSpec.shared`.
    checkpoint: folder for the state of a training, or None to keep none.
    on_epoch: called with one record an epoch.
    """

    step: str
    sources: Mapping[str, Path]
    settings: Mapping[str, Section]
    seed: int
    shared: Mapping[str, Section] = field(default_factory=dict)
    checkpoint: Path | None = None
    on_epoch: Callable[[dict[str, Any]], None] = ignore
    given: Prepared | None = None

    def source(self, name: str) -> Path:
        """Return the folder of what the step reads.

        Raises ValueError for what its spec leaves out.
        """
        if name not in self.sources:
            known = ", ".join(self.sources)
            raise ValueError(f"step {self.step}: does not read {name}; its spec names {known}")
        return self.sources[name]

    @cached_property
    def prepared(self) -> Prepared:
        """The data. Its test pairs are for the stage `evaluate` alone."""
        return Prepared.load(self.source("prepare")) if self.given is None else self.given

    def own(self, kind: type[S], part: str = "") -> S:
        """Return the method's settings, or a part of them. Raises TypeError for another class."""
        return self._of(kind, self.settings, part)

    def section(self, kind: type[S], name: str) -> S:
        """Return a section of params.yaml that the method shares with others."""
        return self._of(kind, self.shared, name)

    def _of(self, kind: type[S], sections: Mapping[str, Section], name: str) -> S:
        if name not in sections:
            known = ", ".join(filter(None, sections)) or "no such section"
            raise ValueError(
                f"step {self.step}: does not read {name or 'all of its settings'}; its spec names "
                f"{known}"
            )
        found = sections[name]
        if not isinstance(found, kind):
            raise TypeError(f"step {self.step}: {name or 'settings'} is a {type(found).__name__}")
        return found


class Step(ABC):
    """Train something, and return it."""

    @abstractmethod
    def run(self, job: Job) -> Artefact:
        """Learn from training pairs, choose on validation pairs; equal jobs give equal artefacts.

        The last step of a method returns its `Recommender`.
        """


class Recommender(ABC):
    """Recommend items to users."""

    @abstractmethod
    def recommend(
        self, users: np.ndarray, k: int, exclude: Interactions
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make lists for users (B,): items and scores, each (B, k), best first.

        Places where no item is left hold item -1 and score -inf. exclude: pairs that are never
        shown.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything that `load` needs into an existing folder: safetensors and JSON only."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; scores are equal to the last bit."""

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        """Score the catalogue for people who are known by their items alone: (B, I) float32.

        history_BI: 1 where a person has an item. Nothing is trained. Raises ValueError for other
        items than the model's, and for a method that learns something about each user.
        """
        raise ValueError(
            f"{type(self).__name__} scores users that it was trained on: it cannot score a list of "
            "items of somebody else"
        )

    def extended(self, text_JW: np.ndarray) -> Recommender:
        """Return a recommender with J more items at the end of the catalogue; nothing is trained.

        text_JW: item features of the new items, the language model's pooled states as the stage
        `profile` makes them. Scores of the other items stay as they are. Raises ValueError for a
        method that needs interactions to score an item.
        """
        raise ValueError(
            f"{type(self).__name__} needs interactions to score an item: it cannot take new items"
        )


class Scorer(Recommender):
    """Recommend by a score of each item, the highest first, the lower id first among equals."""

    @abstractmethod
    def score(self, users: np.ndarray) -> np.ndarray:
        """Score the catalogue for users (B,): (B, I) float32, higher is better.

        The array is fresh: the caller may change it.
        """

    def recommend(
        self, users: np.ndarray, k: int, exclude: Interactions
    ) -> tuple[np.ndarray, np.ndarray]:
        from glta.evaluation.ranking import rank_all

        return rank_all(self.score, users, k=k, exclude=exclude)
