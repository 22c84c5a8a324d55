"""Parameters that graph models share."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

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


class EncoderSettings(GraphTraining):
    """Train a graph model whose encoder is chosen by its name."""

    encoder: Literal["lightgcn", "lgconv", "graphconv", "sage", "gatv2"] = Field(
        "lightgcn",
        description="lightgcn, or a convolution of torch-geometric: lgconv (the same, slower), "
        "graphconv, sage, gatv2",
    )
    heads: int = Field(4, ge=1, le=64, description="attention heads of gatv2")

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.encoder == "gatv2" and self.embedding_dim % self.heads:
            raise ValueError(
                f"heads = {self.heads} does not divide embedding_dim = {self.embedding_dim}; "
                "each head of gatv2 makes an equal part of the embedding"
            )
        return self


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
