"""Transitions: score the items that others had right after the user's newest item."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from glta.methods.base import Job, Step
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.transition_counts import TransitionScores
from glta.methods.transitions.spec import PlainTransitionSettings
from glta.storage.arrays import load_arrays, save_arrays


@dataclass(frozen=True)
class Transitions(TransitionScores):
    """Score by the transitions from the user's items, see `TransitionScores`."""

    def save(self, folder: Path) -> None:
        save_arrays(folder / "model.safetensors", self.arrays(), self.meta())
        write_about(folder, "transitions", trainable_parameters=0)

    @classmethod
    def load(cls, folder: Path) -> Self:
        read_about(folder, "transitions")
        arrays, meta = load_arrays(folder / "model.safetensors")
        return cls(**cls.parts(arrays), **meta)


class CountTransitions(Step):
    """Count which item follows which. `run` raises ValueError for data without times."""

    def run(self, job: Job) -> Transitions:
        settings = job.own(PlainTransitionSettings)
        return Transitions.of(job.prepared.timed("transitions"), settings)
