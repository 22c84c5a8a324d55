"""Settings of self-attention over the items of a user."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from glta.config import Choices, Positive, Search
from glta.training.settings import StepBudget


class SequenceTraining(StepBudget):
    """Train a model that predicts the next item of a history."""

    embedding_dim: Annotated[int, Choices(32, 64, 128)] = Field(
        64, ge=1, le=4096, description="width of item embeddings and of all layers"
    )
    num_blocks: Annotated[int, Search(1, 3)] = Field(
        2, ge=1, le=32, description="blocks of self-attention"
    )
    heads: Annotated[int, Choices(1, 2, 4)] = Field(
        2, ge=1, le=64, description="attention heads of a block"
    )
    max_length: Annotated[int, Choices(20, 50, 100)] = Field(
        50,
        ge=1,
        le=10_000,
        description="newest items of a user that are read; longer training histories are cut into "
        "pieces of this length",
    )
    dropout: Annotated[float, Search(0.1, 0.7)] = Field(
        0.5, ge=0, lt=1, description="share of hidden values that are dropped in a training step"
    )
    init_std: float = Field(0.02, gt=0, description="standard deviation of the initial embeddings")
    loss: Annotated[Literal["softmax", "bce"], Choices("softmax", "bce")] = Field(
        "softmax",
        description="softmax: cross-entropy over all items; bce: binary cross-entropy with one "
        "negative, as published",
    )
    learning_rate: Annotated[float, Search(3e-4, 1e-2, log=True)] = Field(
        1e-3, gt=0, le=1, description="learning rate of Adam"
    )
    evaluate_every: Positive = Field(
        160, description="steps between validations; an epoch of the records has so many"
    )
    batch_size: Annotated[Positive, Choices(64, 128, 256, 512)] = Field(
        128, description="pieces of histories in a training step"
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.embedding_dim % self.heads:
            raise ValueError(
                f"heads = {self.heads} does not divide embedding_dim = {self.embedding_dim}; "
                "choose a divisor, because each head has an equal part of the width"
            )
        return self
