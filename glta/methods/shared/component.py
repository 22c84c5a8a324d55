"""A scorer that is stored as arrays and a few values, and can be one part of a sum."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from glta.data.sequences import Sequences
from glta.methods.base import Scorer
from glta.methods.shared.about import read_about, write_about
from glta.storage.arrays import load_arrays, save_arrays


class Component(Scorer):
    """Score items. A blend (`glta/methods/shared/blended.py`) can add the scores to others.

    name: of the method; a class without a name is only part of another model.
    reads_order: whether the scores need the order of a user's items, so that a list without order
    cannot be scored.
    knows_newcomers: False where users who were not in the training data cannot be scored at all,
    so that a blend leaves this part out for them.
    """

    name: ClassVar[str]
    reads_order: ClassVar[bool] = False
    knows_newcomers: ClassVar[bool] = True

    @property
    @abstractmethod
    def trainable_parameters(self) -> int:
        """How many numbers were fitted."""

    @property
    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, to be saved."""

    @property
    def about(self) -> dict[str, Any]:
        """What model.json holds beside the arrays: nothing, where a class does not say more."""
        return {}

    @classmethod
    @abstractmethod
    def rebuilt(cls, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Self:
        """Make the scorer from what `arrays` and `about` returned."""

    def save(self, folder: Path) -> None:
        save_arrays(folder / "model.safetensors", self.arrays)
        count = self.trainable_parameters
        write_about(folder, self.name, trainable_parameters=count, **self.about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls.read(folder, cls.name)

    @classmethod
    def read(cls, folder: Path, method: str) -> Self:
        """Read what a method saved, without what scoring does not need (history of training).

        method: its name. Raises ValueError when the folder is of another method.
        """
        about = read_about(folder, method)
        return cls.rebuilt(load_arrays(folder / "model.safetensors")[0], about)

    def with_histories(self, histories: Sequences) -> Self:
        return self

    @property
    def by_text(self) -> bool:
        """Whether it can score an item by its text alone, see `extended`."""
        return False

    def with_unknown(self, num: int) -> Self:
        """Return the scorer with `num` items at the end, which nothing is known of.

        Each of them gets the score of an item of zeros, 0 in most methods. Needed where `by_text`
        is False.
        """
        raise NotImplementedError(f"{type(self).__name__} scores new items by their text")

    def as_new(self, items_N: np.ndarray) -> Self:
        """Score known items as if they had no training users, by leave-one-out estimates.

        Returns the scorer itself where the scores of an item do not depend on its users, and where
        no estimate is known.
        """
        return self
