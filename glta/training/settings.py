"""The budget of a training, in steps of its optimiser."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from glta.config import Cost, Positive, Section


class ProcessSettings(Section):
    """Divide trainings over processes."""

    processes: Annotated[int, Cost()] = Field(
        1,
        ge=1,
        le=1024,
        description="processes of this machine that share a training, a GPU each where there are "
        "GPUs; results differ in their last digits, and do not become stale",
    )


class StepBudget(Section):
    """Limit a training by its steps, so that large and small batches have equal budgets.

    Steps are counted from 0. An epoch of the trainer is `evaluate_every` steps, whatever part of
    the data these see, and ends with a validation.
    """

    steps: Positive = Field(8000, description="most steps of a training")
    evaluate_every: Positive = Field(
        80, description="steps between validations; an epoch of the records has so many"
    )
    patience: Positive = Field(
        10,
        description="validations in a row without a better NDCG@20 before training stops; the "
        "first ones improve little",
    )

    @property
    def epochs(self) -> int:
        """The number of epochs. The last one may be shorter."""
        return -(-self.steps // self.evaluate_every)

    def steps_of(self, epoch: int) -> range:
        """Return the steps of an epoch, which is counted from 0."""
        begin = epoch * self.evaluate_every
        return range(begin, min(begin + self.evaluate_every, self.steps))


class RankingBudget(StepBudget):
    """Limit a training whose validation ranks the catalogue for users, by their number too."""

    validation_users: int = Field(
        0,
        ge=0,
        description="most users whose lists are ranked in a validation, spread evenly over all; "
        "0: all",
    )
