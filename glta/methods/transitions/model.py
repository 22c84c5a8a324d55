"""Transitions: score the items that others had right after the user's newest item."""

from __future__ import annotations

from dataclasses import dataclass

from glta.methods.base import Job, Step
from glta.methods.shared.transition_counts import TransitionScores
from glta.methods.transitions.spec import PlainTransitionSettings


@dataclass(frozen=True)
class Transitions(TransitionScores):
    """Score by the transitions from the user's items, see `TransitionScores`."""

    name = "transitions"


class CountTransitions(Step):
    """Count which item follows which. `run` raises ValueError for data without times."""

    def run(self, job: Job) -> Transitions:
        settings = job.own(PlainTransitionSettings)
        return Transitions.of(job.prepared.timed("transitions"), settings)
