"""When a training ends."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class Diverged(ValueError):
    """Say that a training left the finite numbers: the fault of its parameters, not of its data."""


class EarlyStopping:
    """Track the best value of a metric (higher is better) and say when `patience` evaluations
    brought none better.
    """

    def __init__(self, patience: int):
        self.patience = patience
        self.best, self.best_epoch, self.waited = -np.inf, -1, 0

    def update(self, value: float, epoch: int) -> bool:
        """Note one evaluation; returns whether it is the best so far."""
        if value > self.best:
            self.best, self.best_epoch, self.waited = value, epoch, 0
            return True
        self.waited += 1
        return False

    @property
    def stop(self) -> bool:
        return self.waited >= self.patience

    def state(self) -> dict:
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def restore(self, state: Mapping) -> None:
        self.best, self.best_epoch, self.waited = (
            state["best"],
            state["best_epoch"],
            state["waited"],
        )
