"""Settings that graph models share."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from glta.config import Choices, Positive, Search, Section, When
from glta.training.settings import RankingBudget


class GraphTraining(RankingBudget):
    """Train a graph model."""

    embedding_dim: Annotated[int, Choices(64, 128, 256)] = Field(
        64, ge=1, le=4096, description="width of node embeddings"
    )
    num_layers: Annotated[int, Search(1, 4)] = Field(
        3, ge=0, le=16, description="layers of propagation; 0: matrix factorisation"
    )
    init_std: Annotated[float, Search(1e-2, 0.3, log=True)] = Field(
        0.1, gt=0, description="standard deviation of the initial embeddings"
    )
    loss: Annotated[Literal["bpr", "softmax"], Choices("bpr", "softmax")] = Field(
        "bpr", description="ranking loss; bpr, or softmax: cross-entropy over all items"
    )
    sampling: Literal["user", "edge"] = Field(
        "edge",
        description="how an epoch draws its triples; user: users at random, as the reference code; "
        "edge: every interaction once",
    )
    learning_rate: Annotated[float, Search(5e-4, 5e-2, log=True)] = Field(
        5e-3, gt=0, le=1, description="learning rate of Adam"
    )
    schedule: Literal["constant", "cosine"] = Field(
        "constant",
        description="cosine: the learning rate rises in the first twentieth of `steps`, and falls "
        "to 0 at their end, so that large batches converge",
    )
    l2: Annotated[float, Search(1e-6, 1e-1, log=True)] = Field(
        1e-3, ge=0, description="L2 penalty on the layer-0 embeddings of a batch"
    )
    batch_size: Annotated[Positive, Choices(1024, 2048, 4096, 8192)] = Field(
        2048, description="triples in a training step"
    )


class EncoderSettings(GraphTraining):
    """Train a graph model with a choice of encoders."""

    encoder: Literal["lightgcn", "lgconv", "graphconv", "sage", "gatv2"] = Field(
        "lightgcn",
        description="lightgcn, or a convolution of torch-geometric: lgconv (LightGCN, slower), "
        "graphconv, sage, gatv2",
    )
    heads: Annotated[int, When("encoder", ("gatv2",))] = Field(
        4, ge=1, le=64, description="attention heads; gatv2 only"
    )
    max_whole_edges: Positive = Field(
        20_000_000,
        description="training and validation interactions up to which each step propagates over "
        "the whole graph; above, steps of lightgcn with bpr sample neighbours",
    )
    sampled_neighbours: Positive = Field(
        4, description="neighbours that such a step draws of a node, in each layer"
    )
    snapshot_every: Positive = Field(
        200, description="steps after which a sampled training propagates over the whole graph"
    )

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.encoder == "gatv2" and self.embedding_dim % self.heads:
            raise ValueError(
                f"heads = {self.heads} does not divide embedding_dim = {self.embedding_dim}; "
                "choose a divisor, because each head of gatv2 makes an equal part of the embedding"
            )
        return self

    def samples(self, num_edges: int) -> bool:
        """Tell whether steps sample neighbours on a graph with this number of interactions."""
        fits = self.encoder == "lightgcn" and self.loss == "bpr"
        return fits and num_edges > self.max_whole_edges


Temperature = Annotated[float, Search(0.05, 1.0, log=True)]


Weight = Annotated[float, Search(1e-3, 1.0, log=True)]


Keep = Annotated[float, Search(0.5, 1.0)]


class ContrastSettings(Section):
    """Train with a contrast among the nodes of a batch. Its cost is their number squared.

    The authors of HCCF and RLMRec have batches of 4096.
    """

    batch_size: Annotated[Positive, Choices(1024, 2048, 4096)] = Field(
        2048, description="triples in a training step"
    )


class TextContrastSettings(ContrastSettings):
    """Add a text contrast to a graph model (LightGCN+ and HCCF+)."""

    text_weight: Weight = Field(
        0.01, ge=0, description="weight of the contrast between node embeddings and texts"
    )
    text_temperature: Temperature = Field(0.2, gt=0, description="temperature of that contrast")
    text_users: Annotated[bool, Choices(False, True)] = Field(
        False,
        description="true: users have the contrast too, with the mean text of their training items",
    )
