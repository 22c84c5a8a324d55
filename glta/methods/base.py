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
from glta.data.histories import recent_matrix
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.data.sequences import Sequences

S = TypeVar("S", bound=Section)


class Artefact(Protocol):
    """What a step returns. The same class writes it and reads it."""

    def save(self, folder: Path) -> None:
        """Write it into an existing folder: safetensors, JSON and Parquet only."""


def ignore(record: dict[str, Any]) -> None:
    """Take the record of an epoch and do nothing."""


@dataclass(frozen=True)
class Job:
    """Hold all that a step may use.

    step: the step's name.
    sources: the folders to read, by the names in `StepSpec.reads`.
    settings: the method's settings: the sections in `StepSpec.settings` by name, or all of the
        settings under the name "".
    seed: of the random numbers.
    shared: the sections in `StepSpec.shared`, by name.
    checkpoint: the folder for checkpoints; None keeps none.
    on_epoch: called with one record after each epoch.
    given: data that take the place of the folder of the stage `prepare`.
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
        """Return the folder of a stage or step that this step reads.

        Raises ValueError when the step's spec does not name it.
        """
        if name not in self.sources:
            known = ", ".join(self.sources)
            raise ValueError(
                f"step {self.step}: does not read {name}; its spec names {known}; add "
                f"{name} to its `reads`"
            )
        return self.sources[name]

    @cached_property
    def prepared(self) -> Prepared:
        """The prepared data. Only the stage `evaluate` may use the test pairs."""
        return Prepared.load(self.source("prepare")) if self.given is None else self.given

    def own(self, kind: type[S], part: str = "") -> S:
        """Return the method's settings, or one section of them.

        kind: the expected class. part: the section's name; "" for all settings. Raises ValueError
        when the step's spec does not name the section, TypeError when it has another class.
        """
        return self._of(kind, self.settings, part)

    def section(self, kind: type[S], name: str) -> S:
        """Return a section of params.yaml that methods share. Raises as `own` does."""
        return self._of(kind, self.shared, name)

    def _of(self, kind: type[S], sections: Mapping[str, Section], name: str) -> S:
        if name not in sections:
            known = ", ".join(filter(None, sections)) or "no such section"
            place = "shared" if sections is self.shared else "settings"
            fix = f"add {name} to its `{place}`" if name else "ask for one of them"
            raise ValueError(
                f"step {self.step}: does not read {name or 'all of its settings'}; its spec names "
                f"{known}; {fix}"
            )
        found = sections[name]
        if not isinstance(found, kind):
            raise TypeError(
                f"step {self.step}: {name or 'settings'} is a {type(found).__name__}, not a "
                f"{kind.__name__}"
            )
        return found


class Step(ABC):
    """Train one artefact of a method."""

    @abstractmethod
    def run(self, job: Job) -> Artefact:
        """Train on the training pairs, and select models on the validation pairs.

        Equal jobs give equal artefacts. The last step of a method returns its `Recommender`.
        """


class Recommender(ABC):
    """Recommend items to users."""

    @abstractmethod
    def recommend(
        self, users: np.ndarray, k: int, exclude: Interactions
    ) -> tuple[np.ndarray, np.ndarray]:
        """Recommend k items to each user (B,). Returns items and scores, each (B, k), best first.

        Where fewer than k items are left, the last places hold item -1 and score -inf.
        exclude: user-item pairs that are never recommended.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything that `load` needs into an existing folder: safetensors and JSON only."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; scores are equal to the last bit."""

    def with_histories(self, histories: Sequences) -> Recommender:
        """Return a recommender that scores by these items of the users. Nothing is trained.

        A recommender of a step scores by the training items. Test lists also use the validation
        items, which are older than the test items in a split by time.
        histories: the items of each user, oldest first, over the items of the model. For a method
            with the capability "sequences", its users may be others than those of the training.
        Without this method, users keep what was learned of them: the result is the recommender.
        """
        return self

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        """Score all items for users who were not in the training data: (B, I) float32.

        history_BI: 1 where a user has an item. The order of the items is not known, so all count
        alike, also where the model weighs items by their age (`score_newcomers`). Nothing is
        trained. Raises ValueError when the items are not those of the model, and for a method that
        cannot do it.
        """
        raise ValueError(
            f"{type(self).__name__} scores users that it was trained on: it cannot score a "
            "list of items"
        )

    def score_newcomers(self, histories: Sequences) -> np.ndarray:
        """Score all items for users who were not in the training data: (B, I) float32.

        histories: the items of each of B users, oldest first. They count as those of a user of the
            training data would, also by their age where the model weighs items by it.
        Nothing is trained. Raises as `score_histories` does.
        """
        return self.score_histories(recent_matrix(histories, decay=1))

    def extended(self, text_JW: np.ndarray) -> Recommender:
        """Return a recommender with J new items at the end of the catalogue. Nothing is trained.

        text_JW: text states of the new items, as the stage `profile` makes them. The scores of the
        other items do not change. Raises ValueError for a method that needs interactions to score
        an item.
        """
        raise ValueError(
            f"{type(self).__name__} needs interactions to score an item: it cannot take new items"
        )


class Scorer(Recommender):
    """Recommend the items with the highest scores. Of equal scores, the lower item id is first."""

    @abstractmethod
    def score(self, users: np.ndarray) -> np.ndarray:
        """Score all items for users (B,): (B, I) float32, higher is better.

        The caller may change the array. Raises ValueError for an unknown user.
        """

    def recommend(
        self, users: np.ndarray, k: int, exclude: Interactions
    ) -> tuple[np.ndarray, np.ndarray]:
        from glta.evaluation.ranking import rank_all

        return rank_all(self.score, users, k=k, exclude=exclude)
