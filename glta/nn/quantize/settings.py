"""Settings of item codes: how vectors become short sequences of whole numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from glta.config import Choices, Positive, Search, When
from glta.training.settings import StepBudget

Kind = Literal["residual-kmeans", "rq-vae"]
Collisions = Literal["token", "assign", "nearest"]

KMEANS = When("kind", ("residual-kmeans",))
RQVAE = When("kind", ("rq-vae",))


class CodeSettings(StepBudget):
    """Quantise the vectors of items by a cascade of codebooks."""

    kind: Annotated[Kind, Choices("residual-kmeans", "rq-vae")] = Field(
        "residual-kmeans",
        description="residual-kmeans: each level clusters what the levels before left over; "
        "rq-vae: an autoencoder is trained around the codebooks",
    )
    levels: Annotated[int, Search(2, 4)] = Field(
        4, ge=1, le=16, description="codes of an item, one a level"
    )
    codes: Annotated[int, Choices(64, 128, 256, 512)] = Field(
        256, ge=2, le=65536, description="codes of a level"
    )
    collisions: Annotated[Collisions, Choices("token", "assign", "nearest")] = Field(
        "nearest",
        description="what tells items with equal codes apart; token: one more code, as TIGER; "
        "assign: optimal assignment of the last codes; nearest: the nearest free codes",
    )
    unit_vectors: Annotated[bool, Choices(False, True)] = Field(
        True, description="scale the centred vectors to length 1 before anything else"
    )
    text_weight: Annotated[float, Search(0.01, 3.0, log=True)] = Field(
        0.3,
        ge=0,
        description="weight of the items' texts; residual-kmeans: of the squared error of the text "
        "state beside that of the vector; rq-vae: of the contrastive loss; 0: none",
    )
    text_dim: Annotated[int, KMEANS, Choices(8, 16, 32, 64)] = Field(
        16,
        ge=1,
        le=4096,
        description="principal directions of the text states that are clustered with the vectors",
    )
    shuffled: bool = Field(
        False, description="give each item the codes of another one, drawn at random: a control"
    )
    restarts: Annotated[int, KMEANS] = Field(
        1, ge=1, le=100, description="starts of k-means on each level; the best one counts"
    )
    iterations: Annotated[int, KMEANS] = Field(
        50, ge=1, le=10_000, description="most iterations of a start of k-means"
    )
    hidden_dim: Annotated[int, RQVAE, Choices(128, 256, 512)] = Field(
        256, ge=1, le=16384, description="width of the hidden layer of encoder and decoder"
    )
    code_dim: Annotated[int, RQVAE, Choices(16, 32, 64)] = Field(
        32, ge=1, le=4096, description="width of the codes' vectors"
    )
    commitment: Annotated[float, RQVAE, Search(0.1, 1.0, log=True)] = Field(
        0.25, ge=0, description="weight of the loss that draws the encoder towards its codes"
    )
    temperature: Annotated[float, RQVAE, Search(0.03, 0.5, log=True)] = Field(
        0.1, gt=0, description="divides the cosines in the contrastive loss of the texts"
    )
    restart_dead: Annotated[bool, RQVAE] = Field(
        True, description="move codes that no item has to the places of random items"
    )
    learning_rate: Annotated[float, RQVAE, Search(1e-4, 1e-2, log=True)] = Field(
        1e-3, gt=0, le=1, description="learning rate of Adam"
    )
    batch_size: Annotated[Positive, RQVAE, Choices(128, 256, 512, 1024)] = Field(
        256, description="items in a training step; their texts are each other's negatives"
    )
    steps: Annotated[Positive, RQVAE] = Field(4000, description="most steps of a training")
    evaluate_every: Annotated[Positive, RQVAE] = Field(
        100, description="steps between validations; dead codes are moved as often"
    )
    patience: Annotated[Positive, RQVAE] = Field(
        10,
        description="validations in a row without a lower loss over all items before training "
        "stops",
    )
