"""GAL-Rec: a language model that learns the neighbourhoods of the interaction graph."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from glta.config import Choices, Positive, Search, When
from glta.methods.spec import Ablation, MethodSpec, StepSpec
from glta.training.settings import StepBudget

External = Literal["graph_and_text", "graph", "text", "none"]
Trained = Literal["lora", "whole", "tokens"]

Weight = Annotated[float, Search(1e-3, 1.0, log=True)]


class GALRecSettings(StepBudget):
    """Graph-aware language model with contrastive losses over one and two hops."""

    steps: Positive = Field(800, description="most steps of a training")
    evaluate_every: Positive = Field(
        100, description="steps between validations; an epoch of the records has so many"
    )
    patience: Positive = Field(
        3,
        description="validations in a row without a better NDCG@20 before training stops",
    )
    validation_users: int = Field(
        2000,
        ge=0,
        description="most users by whose lists a training is validated, because the language model "
        "reads a prompt for each; 0: all",
    )
    external: External = Field(
        "graph_and_text",
        description="what a node's token is made of: graph embedding and text state, one of them, "
        "or none: a vector that is trained here",
    )
    direct: bool = Field(
        True,
        description="true: scores begin as those of the external vectors, and the language model "
        "adds to them; false: the language model's state alone represents a user, as published",
    )
    first_neighbours: Annotated[int, Choices(3, 6, 12)] = Field(
        6, ge=0, le=256, description="direct neighbours in a prompt, drawn anew for each example"
    )
    second_neighbours: Annotated[int, Choices(3, 6, 12)] = Field(
        6, ge=0, le=256, description="neighbours over a shared node in a prompt, drawn likewise"
    )
    shuffled: bool = Field(
        False, description="true: the ablation in which a node is shown another node's neighbours"
    )
    item_words: int = Field(
        6, ge=0, le=512, description="tokens of an item's own text in its prompts; 0: none"
    )
    reading: Literal["views", "means"] = Field(
        "views",
        description="what the contrastive losses compare: views: two-hop prompts with shorter "
        "prompts; means: a node with the mean of its neighbours, an older reading of the paper",
    )
    alone_weight: Weight = Field(
        0.1, ge=0, description="loss 1: the two-hop view of a node and the node alone"
    )
    neighbour_weight: Weight = Field(
        0.1, ge=0, description="loss 2: the two-hop and the one-hop view of a node"
    )
    pair_weight: Weight = Field(0.1, ge=0, description="loss 3: a user and an item of theirs")
    temperature: Annotated[float, Search(0.03, 1.0, log=True)] = Field(
        0.1, gt=0, description="of the contrastive losses"
    )
    queue: Annotated[int, Choices(1024, 4096, 16384)] = Field(
        4096,
        ge=0,
        description="earlier representations that serve as negatives; 0: the rest of the batch",
    )
    average: Annotated[float, Choices(0.9, 0.99, 0.999)] = Field(
        0.99,
        ge=0,
        lt=1,
        description="share of the old weights in each step of the averaged encoder that computes "
        "the keys; 0: keys from the encoder itself",
    )
    contrast_width: Positive = Field(128, description="width of the compared representations")
    train: Trained = Field(
        "lora",
        description="of the language model: LoRA adapters, the whole model, or tokens alone",
    )
    lora_rank: Annotated[Positive, When("train", ("lora",))] = Field(
        8, le=256, description="rank of LoRA"
    )
    lora_alpha: Annotated[float, When("train", ("lora",))] = Field(
        16.0, gt=0, description="LoRA scale"
    )
    lora_dropout: Annotated[float, When("train", ("lora",))] = Field(
        0.05, ge=0, lt=1, description="LoRA dropout"
    )
    learning_rate: Annotated[float, Search(1e-5, 1e-3, log=True)] = Field(
        5e-5, gt=0, le=1, description="AdamW, of language model, tokens and projections"
    )
    head_learning_rate: Annotated[float, Search(5e-6, 5e-4, log=True)] = Field(
        2e-5, gt=0, le=1, description="AdamW, of the maps to the scores"
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW")
    batch_size: Positive = Field(32, description="examples a step; each has up to six prompts")
    micro_batch: int = Field(
        0,
        ge=0,
        description="examples whose activations are held at once; 0: all. Less takes less memory",
    )
    checkpoint_layers: bool = Field(
        False,
        description="compute each layer's activations again for its gradient instead of holding "
        "them: half as long again",
    )
    precision: Literal["float32", "bfloat16"] | None = Field(
        None,
        description="of the language model in training: float32, bfloat16; null: "
        "language.precision",
    )

    @property
    def weights(self) -> tuple[float, float, float]:
        """Return the weights of the three contrastive losses."""
        return self.alone_weight, self.neighbour_weight, self.pair_weight


SPEC = MethodSpec(
    name="gal-rec",
    title="GAL-Rec",
    paper="Guan et al., TKDE 2025, arXiv 2406.13235; an independent implementation",
    settings=GALRecSettings,
    recommender="glta.methods.gal_rec.model:GALRec",
    steps=(
        StepSpec(
            "gal-rec",
            "glta.methods.gal_rec.model:TrainGALRec",
            reads=("prepare", "profile", "pretrain-graph"),
            shared=("language",),
            threads=2,
            memory_mb=4000,
            shares=True,
        ),
    ),
    ablations={
        "without-alone": Ablation({"alone_weight": 0.0}),
        "without-neighbours": Ablation({"neighbour_weight": 0.0}),
        "without-pairs": Ablation({"pair_weight": 0.0}),
        # cross-entropy alone: plain fine-tuning with the same prompts
        "plain": Ablation({"alone_weight": 0.0, "neighbour_weight": 0.0, "pair_weight": 0.0}),
        "without-queue": Ablation({"queue": 0}),
        "without-external": Ablation({"external": "none"}),
        "shuffled-neighbours": Ablation({"shuffled": True}),
        "means": Ablation({"reading": "means"}),
        "without-average": Ablation({"average": 0.0}),
        "state-alone": Ablation({"direct": False}),
    },
    capabilities=frozenset({"histories", "new_items"}),
    devices=("cpu", "cuda"),
    place=140,
)
