"""Define the settings of GLTA's steps. Nothing but pydantic is imported."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from glta.config import Positive, Search, Section, When

Mode = Literal["first_logit", "one_per_position", "autoregressive"]


class AlignSettings(Section):
    """Set what both alignment stages share."""

    targets: Literal["held_out", "all"] = Field(
        "held_out",
        description="held_out: training items the graph has not seen; all: the leaky variant",
    )
    head: Literal["free", "tied"] = Field(
        "free",
        description="free: linear map to the catalogue, as published; tied: low rank, to the item "
        "tokens",
    )
    head_rank: Annotated[int, When("head", ("tied",))] = Field(
        128, ge=1, le=4096, description="rank of the tied head"
    )
    head_init: Annotated[Literal["matched", "random"], When("head", ("free",))] = Field(
        "matched",
        description="start of the free head: solved to match graph and text, or random; a tied "
        "head starts random",
    )
    precision: Literal["float32", "bfloat16"] | None = Field(
        None,
        description="of the language model in both alignments: float32, bfloat16; null: "
        "language.precision",
    )
    micro_batch: int = Field(
        0,
        ge=0,
        description="prompts of a step whose activations are held at once; 0: all. Less takes "
        "less memory",
    )
    checkpoint_layers: bool = Field(
        False,
        description="compute each layer's activations again for its gradient instead of holding "
        "them: half as long again",
    )
    lora_rank: int = Field(
        0,
        ge=0,
        le=256,
        description="0: frozen, as published; else LoRA of this rank is trained in both alignments",
    )
    lora_alpha: float = Field(16.0, gt=0, description="LoRA scale")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="LoRA dropout")

    @property
    def edges(self) -> Literal["graph", "all"]:
        """Return which training edges the node embeddings must have been trained on."""
        return "graph" if self.targets == "held_out" else "all"


ProjectorRate = Annotated[float, Search(2e-5, 5e-3, log=True)]
HeadRate = Annotated[float, Search(1e-6, 3e-3, log=True)]


class AlignItemsSettings(Section):
    """Stage 2: train item projector and head to put item descriptions back into order."""

    enabled: bool = Field(
        True, description="false: the paper's ablation without item-text alignment"
    )
    items_per_prompt: int = Field(
        6, ge=2, le=64, description="items shuffled in one prompt, and read-out positions"
    )
    hidden_items: int = Field(
        2,
        ge=0,
        le=63,
        description="item tokens of a prompt that are hidden, below items_per_prompt: their "
        "read-outs need the descriptions; 0: as published",
    )
    description_tokens: int = Field(10, ge=1, le=512, description="an item's text is cut here")
    learning_rate: ProjectorRate = Field(
        2e-4, gt=0, le=1, description="AdamW, of projectors and adapters"
    )
    head_learning_rate: HeadRate = Field(3e-4, gt=0, le=1, description="AdamW, of the head")
    weight_decay: float = Field(0.01, ge=0, description="AdamW")
    batch_size: Positive = Field(32, description="prompts a step")
    epochs: Positive = Field(6, description="at most; an epoch shows every item once")
    patience: Positive = Field(
        2, description="epochs without a lower validation loss before stopping"
    )

    @model_validator(mode="after")
    def _some_are_shown(self) -> Self:
        if self.hidden_items >= self.items_per_prompt:
            raise ValueError(
                f"hidden_items = {self.hidden_items}: must be below items_per_prompt = "
                f"{self.items_per_prompt}, so that an item token is shown"
            )
        return self


class AlignUsersSettings(Section):
    """Stage 3: train user projector and head to predict held-out items of each user."""

    context_items: int = Field(
        12, ge=0, le=512, description="item tokens in the prompt, redrawn every epoch"
    )
    items_shown: Literal["history", "candidates"] = Field(
        "history",
        description="whose item tokens: history: the user's own items; candidates: items that the "
        "graph ranks highest, in training with the targets among them, to choose from",
    )
    mask_known: bool = Field(
        True,
        description="true: the user's other training items are left out of the loss, as they are "
        "left out of lists",
    )
    read_outs: Annotated[int, Search(1, 8)] = Field(
        4, ge=1, le=64, description="positions after the prompt that the head reads"
    )
    tag_tokens: int = Field(
        10, ge=0, le=512, description="profile tokens are cut here; 0: the ablation without them"
    )
    interest_tokens: int = Field(
        10, ge=0, le=512, description="prediction tokens are cut here; 0: the ablation without them"
    )
    user_token: bool = Field(
        True, description="false: the ablation without user alignment (the user's id as plain text)"
    )
    evidence: bool = Field(
        False,
        description="true: the user's node embedding and mean item text stand beside each "
        "read-out, as further inputs of a free head; false: as published",
    )
    learning_rate: ProjectorRate = Field(
        2e-4,
        gt=0,
        le=1,
        description="AdamW, of projectors and adapters; the highest, after a warm-up",
    )
    head_learning_rate: HeadRate = Field(3e-5, gt=0, le=1, description="AdamW, of the head")
    weight_decay: float = Field(0.01, ge=0, description="AdamW")
    batch_size: Positive = Field(32, description="prompts a step")
    epochs: Positive = Field(10, description="at most")
    patience: Positive = Field(
        2, description="epochs without a better validation NDCG@20 before stopping"
    )

    @model_validator(mode="after")
    def _all_targets_are_shown(self) -> Self:
        if self.items_shown == "candidates" and self.context_items < self.read_outs:
            raise ValueError(
                f"context_items = {self.context_items}: with items_shown = candidates, must be at "
                f"least read_outs = {self.read_outs}, so that a prompt has room for its targets"
            )
        return self


class ServeSettings(Section):
    """Make the model that recommends."""

    mode: Mode = Field("first_logit", description="how the read-outs of a prompt become a list")
