"""Settings of methods that train a map of text states."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from glta.config import Choices, Positive, Search, When
from glta.training.settings import RankingBudget


class TextTraining(RankingBudget):
    """Train a map from text states to the vectors that score."""

    # `RankerTask` asks for them: a pass takes every interaction once, at one learning rate
    sampling: ClassVar[str] = "edge"
    schedule: ClassVar[str] = "constant"

    map: Annotated[Literal["mlp", "linear"], Choices("mlp", "linear")] = Field(
        "mlp",
        description="mlp: linear, LeakyReLU, linear; linear: one matrix without a bias",
    )
    hidden_dim: Annotated[int, When("map", ("mlp",)), Choices(256, 512, 1024)] = Field(
        512, ge=1, le=16384, description="width of the hidden layer; mlp only"
    )
    embedding_dim: Annotated[int, Choices(64, 128, 256)] = Field(
        64, ge=1, le=4096, description="width of the vectors that score"
    )
    temperature: Annotated[float, Search(0.05, 0.5, log=True)] = Field(
        0.15, gt=0, description="divides the cosines in the softmax"
    )
    learning_rate: Annotated[float, Search(1e-4, 2e-2, log=True)] = Field(
        5e-4, gt=0, le=1, description="learning rate of Adam"
    )
    weight_decay: Annotated[float, Search(1e-7, 1e-3, log=True)] = Field(
        1e-6, ge=0, description="L2 penalty on all weights, added to their gradient"
    )
    batch_size: Annotated[Positive, Choices(1024, 2048, 4096)] = Field(
        4096, description="interactions in a training step"
    )
