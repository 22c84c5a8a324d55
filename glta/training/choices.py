"""Repeat in a refit the choices of the first fit.

Every choice of a method (epochs, mixing weights, starts) is made by values that are measured on the
validation pairs. The first fit records them. The refit trains on the validation pairs too, so it
cannot measure anything on them: it gets the recorded values instead, in the same order. Thus every
choice falls as it did, without a line of code in the methods. The training loop repeats the number
of its epochs alone, and validates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Values = list[float]


class Unrepeatable(ValueError):
    """A refit does not make the same choices as the first fit."""

    def __init__(self) -> None:
        super().__init__(
            "its refit does not make the same choices as its first fit; set recommend.refit: false"
        )


class ChoiceRecord:
    """Record what choices depend on, or repeat an earlier record.

    earlier: the record to repeat; None makes one.
    values: measured outside of epochs. epochs: the number of epochs of each training.
    """

    def __init__(self, earlier: ChoiceRecord | None = None):
        self.earlier = earlier
        self.values: list[Values] = []
        self.epochs: list[int] = []

    def value(self, measure: Callable[[], Values]) -> Values:
        """Return what `measure` returns, or the value at this place of the earlier record.

        Raises Unrepeatable when the earlier record has no more.
        """
        if self.earlier is None:
            found = measure()
        elif len(self.values) < len(self.earlier.values):
            found = self.earlier.values[len(self.values)]
        else:
            raise Unrepeatable
        self.values.append(found)
        return found

    def next_epochs(self) -> int | None:
        """Return the number of epochs to repeat, None for a first fit. Raises as `value` does."""
        if self.earlier is None:
            return None
        if len(self.epochs) == len(self.earlier.epochs):
            raise Unrepeatable
        self.epochs.append(self.earlier.epochs[len(self.epochs)])
        return self.epochs[-1]

    def end(self) -> None:
        """Raise Unrepeatable when something of the earlier record was not asked for."""
        if self.earlier is not None and self.state() != self.earlier.state():
            raise Unrepeatable

    def state(self) -> dict[str, Any]:
        """Return the record, for a checkpoint."""
        return {"values": self.values, "epochs": self.epochs}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.values = list(state["values"])
        self.epochs = list(state["epochs"])


_current: ContextVar[ChoiceRecord] = ContextVar("choices")


def current_choices() -> ChoiceRecord:
    """Return the record of this context. Without one, it is a new one that nobody reads."""
    return _current.get(ChoiceRecord())


@contextmanager
def choices(earlier: ChoiceRecord | None = None) -> Iterator[ChoiceRecord]:
    """Record all choices inside this context, or repeat earlier ones.

    Raises Unrepeatable at the end when not all earlier ones were repeated.
    """
    made = ChoiceRecord(earlier)
    before = _current.set(made)
    try:
        yield made
    finally:
        _current.reset(before)
    made.end()
