"""Parameters that graph models share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from glta.config import Positive, Search, Section


class GraphTraining(Section):
    """Train a graph model; what all of them share."""

    embedding_dim: int = Field(64, ge=1, le=4096, description="width of node embeddings")
    num_layers: Annotated[int, Search(1, 4)] = Field(
        3, ge=0, le=16, description="propagations; 0 is matrix factorisation"
    )
    init_std: float = Field(0.1, gt=0, description="standard deviation of layer 0")
    loss: Literal["bpr", "softmax"] = Field(
        "bpr", description="bpr, or cross-entropy over the catalogue"
    )
    sampling: Literal["user", "edge"] = Field(
        "edge", description="user: users uniformly (reference code); edge: every interaction once"
    )
    learning_rate: Annotated[float, Search(5e-4, 2e-2, log=True)] = Field(
        5e-3, gt=0, le=1, description="Adam"
    )
    l2: Annotated[float, Search(1e-6, 1e-1, log=True)] = Field(
        1e-3, ge=0, description="penalty on the batch's layer-0 embeddings"
    )
    batch_size: Positive = Field(2048, description="triples a step")
    epochs: Positive = Field(200, description="at most")
    evaluate_every: Positive = Field(2, description="epochs between validations")
    patience: Positive = Field(
        10,
        description="validations without a better NDCG@20 before stopping; training starts on a "
        "plateau",
    )


Temperature = Annotated[float, Search(0.05, 1.0, log=True)]


Weight = Annotated[float, Search(1e-3, 1.0, log=True)]


Keep = Annotated[float, Search(0.5, 1.0)]


class ContrastSettings(Section):
    """Add a contrast to a graph model."""

    contrast_batch: int = Field(
        0,
        ge=0,
        description="triples of a step that are contrasted, which costs their number squared; 0: "
        "all, as published",
    )


class TextContrastSettings(ContrastSettings):
    """Add a text contrast to a graph model (LightGCN+ and HCCF+)."""

    text_weight: Weight = Field(
        0.01, ge=0, description="of the contrast between node and text embeddings"
    )
    text_temperature: Temperature = Field(0.2, gt=0, description="of that contrast")
    text_users: bool = Field(
        False, description="true: contrast users too, with the mean text of their training items"
    )
