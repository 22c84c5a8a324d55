"""Reasons to end a training: early stopping and divergence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class Diverged(ValueError):
    """A value of a training is not finite. The cause is its parameters, not its data."""


class TooSlow(ValueError):
    """A training takes longer than it may. The cause is its parameters, not its data."""


class EarlyStopping:
    """Track the best validation value (higher is better) of a training.

    patience: stop after this number of validations in a row without a better value.
    """

    def __init__(self, patience: int):
        self.patience = patience
        self.best = -np.inf
        self.best_epoch = -1
        self.waited = 0

    def update(self, value: float, epoch: int) -> bool:
        """Record the value of an epoch. Returns whether it is the best so far."""
        if value > self.best:
            self.best = value
            self.best_epoch = epoch
            self.waited = 0
            return True
        self.waited += 1
        return False

    @property
    def stop(self) -> bool:
        """Whether the training should stop."""
        return self.waited >= self.patience

    def state(self) -> dict:
        """Return the state for a checkpoint."""
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def restore(self, state: Mapping) -> None:
        """Restore what `state` returned."""
        self.best = state["best"]
        self.best_epoch = state["best_epoch"]
        self.waited = state["waited"]
