"""Settings of an encoder-decoder that generates the codes of the next item."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from glta.config import Choices, Positive, Search, Section
from glta.training.settings import StepBudget


class GenerationSettings(Section):
    """Generate lists of items by their codes."""

    exact_items: int = Field(
        2000,
        ge=0,
        description="catalogues of at most so many items are scored item by item, larger ones are "
        "searched by beams",
    )
    beams: Annotated[int, Choices(20, 50, 100)] = Field(
        50, ge=1, le=100_000, description="prefixes that a beam search keeps, at least the list's K"
    )
    block_users: Positive = Field(128, description="users whose items are generated at once")
    validation_users: int = Field(
        2000,
        ge=0,
        description="most users by whose lists a training is validated, because each list is a "
        "generation; 0: all",
    )


class NextCodesSettings(StepBudget, GenerationSettings):
    """Train an encoder-decoder from scratch to generate the next item's codes.

    The default shape is one that trains on a CPU. TIGER's has width 128, 4 layers, 6 heads of 64
    and hidden_dim 1024.
    """

    width: Annotated[int, Choices(64, 128, 256)] = Field(
        64, ge=1, le=8192, description="width of tokens and layers"
    )
    layers: Annotated[int, Search(1, 6)] = Field(
        1, ge=1, le=64, description="layers of the encoder, and of the decoder"
    )
    heads: Annotated[int, Choices(2, 4, 6)] = Field(
        2, ge=1, le=128, description="attention heads of a layer"
    )
    head_width: Annotated[int, Choices(32, 64)] = Field(
        32, ge=1, le=1024, description="width of queries, keys and values of a head"
    )
    hidden_dim: Annotated[int, Choices(256, 512, 1024)] = Field(
        256, ge=1, le=65536, description="width between the two matrices of a feed-forward layer"
    )
    dropout: Annotated[float, Search(0.0, 0.5)] = Field(
        0.1, ge=0, lt=1, description="share of hidden values that are dropped in a training step"
    )
    max_items: Annotated[int, Choices(10, 20, 50)] = Field(
        20, ge=1, le=10_000, description="newest items of a history that are read"
    )
    learning_rate: Annotated[float, Search(1e-4, 1e-2, log=True)] = Field(
        3e-3, gt=0, le=1, description="learning rate of AdamW"
    )
    weight_decay: Annotated[float, Search(1e-3, 0.3, log=True)] = Field(
        0.01, ge=0, description="weight decay of AdamW"
    )
    batch_size: Annotated[Positive, Choices(64, 128, 256)] = Field(
        256, description="histories with their next item in a training step"
    )
    steps: Positive = Field(6000, description="most steps of a training")
    evaluate_every: Positive = Field(
        500, description="steps between validations; an epoch of the records has so many"
    )
    patience: Positive = Field(
        4, description="validations in a row without a better NDCG@20 before training stops"
    )
