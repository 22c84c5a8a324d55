"""Semantic Convergence: a language model that reads and generates items as codes."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from glta.config import Choices, Positive, Search, Section, When
from glta.methods.shared.settings import VectorCodes
from glta.methods.spec import Ablation, MethodSpec, StepSpec
from glta.nn.generation.settings import GenerationSettings
from glta.training.settings import StepBudget

Templates = Annotated[list[str], Field(min_length=1)]
Weight = Annotated[float, Choices(0.0, 0.1, 0.3, 1.0)]

SLOTS: dict[str, tuple[str, ...]] = {
    "next_item": ("history",),
    "next_item_not": ("history", "candidates"),
    "describe": ("item",),
    "describe_not": ("item", "texts"),
    "name": ("text",),
    "name_not": ("text", "candidates"),
    "search": ("words",),
    "search_not": ("words", "candidates"),
}
"""What a template of each task names in braces, each once."""


class TemplateSettings(Section):
    """Words around items and texts. The answer follows a template. One is drawn for a prompt."""

    next_item: Templates = Field(
        ["items in order: {history}"],
        description="ends with {history}; every item of it but the first is an answer",
    )
    next_item_not: Templates = Field(
        ["items in order: {history} of {candidates} the user does not take"],
        description="the answer is the candidate that was drawn at random",
    )
    describe: Templates = Field(
        ["the item {item} is"], description="the answer is the text of the item"
    )
    describe_not: Templates = Field(
        ["of the texts {texts} this is not the item {item} :"],
        description="the answer is the text of another item",
    )
    name: Templates = Field(["{text} is the item"], description="the answer is the item")
    name_not: Templates = Field(
        ["{text} of {candidates} is not the item"], description="the answer is the other item"
    )
    search: Templates = Field(
        ["a search for {words} finds"], description="words of an item; the answer is the item"
    )
    search_not: Templates = Field(
        ["a search for {words} of {candidates} does not find"],
        description="the answer is the other item",
    )

    @model_validator(mode="after")
    def _check_slots(self) -> Self:
        """Refuse a template that lacks a slot of its task, or has another one."""
        for task, wanted in SLOTS.items():
            for template in getattr(self, task):
                found = re.findall(r"\{(\w*)\}", template)
                if sorted(found) != sorted(wanted):
                    named = " and ".join(f"{{{name}}}" for name in wanted)
                    raise ValueError(f"{task}: {template!r} must name {named}, each once")
                if task == "next_item" and not template.endswith("{history}"):
                    raise ValueError(f"{task}: {template!r} must end with {{history}}")
        return self


class TaskSettings(Section):
    """Choose the alignment tasks, and how often each is trained."""

    next_item: float = Field(1.0, gt=0, description="weight of: history to next item")
    describe: Weight = Field(0.1, ge=0, description="weight of: item to its text")
    name: Weight = Field(0.1, ge=0, description="weight of: text to item")
    search: Weight = Field(0.1, ge=0, description="weight of: some words of a text to the item")
    negatives: Annotated[float, Choices(0.0, 0.1, 0.3)] = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of a task's prompts that ask for what does not belong",
    )
    text_tokens: Positive = Field(16, le=1024, description="tokens of an item's text, at most")
    query_words: Positive = Field(3, le=64, description="words of a search, at most")
    templates: TemplateSettings = TemplateSettings()

    @property
    def weights(self) -> dict[str, float]:
        """Return the weight of each task that is trained, as shares of 1."""
        given = {name: getattr(self, name) for name in ("next_item", "describe", "name", "search")}
        total = sum(given.values())
        return {name: weight / total for name, weight in given.items() if weight}


class AlignmentSettings(StepBudget, GenerationSettings):
    """Train the language model on the alignment tasks."""

    steps: Positive = Field(3000, description="most steps of a training")
    evaluate_every: Positive = Field(
        250, description="steps between validations; an epoch of the records has so many"
    )
    patience: Positive = Field(
        4, description="validations in a row without a better NDCG@20 before training stops"
    )
    max_items: Annotated[int, Choices(10, 20, 50)] = Field(
        20, ge=1, le=10_000, description="newest items of a history that are read"
    )
    train: Literal["whole", "lora"] = Field(
        "whole",
        description="of the language model: all weights, or LoRA adapters; code tokens are always "
        "trained; small needs whole",
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
    learning_rate: Annotated[float, Search(1e-4, 5e-3, log=True)] = Field(
        2e-3, gt=0, le=1, description="AdamW, of the language model or its adapters"
    )
    code_learning_rate: Annotated[float, Search(1e-4, 5e-3, log=True)] = Field(
        2e-3, gt=0, le=1, description="AdamW, of the code tokens"
    )
    weight_decay: Annotated[float, Search(1e-3, 0.3, log=True)] = Field(
        0.01, ge=0, description="AdamW"
    )
    dropout: Annotated[float, Search(0.0, 0.5)] = Field(
        0.1, ge=0, lt=1, description="share of the values of token embeddings that are dropped"
    )
    batch_size: Annotated[Positive, Choices(32, 64, 128)] = Field(
        64, description="prompts of all tasks in a training step"
    )
    micro_batch: int = Field(
        0,
        ge=0,
        description="prompts whose activations are held at once; 0: all. Less takes less memory",
    )
    checkpoint_layers: bool = Field(
        False,
        description="compute each layer's activations again for its gradient instead of holding "
        "them: half as long again",
    )


class SemanticConvergenceSettings(Section):
    """Semantic Convergence: item codes, alignment tasks, generated lists."""

    codes: VectorCodes = VectorCodes()
    tasks: TaskSettings = TaskSettings()
    align: AlignmentSettings = AlignmentSettings()


NO_TEXT_TASKS = {"tasks.describe": 0.0, "tasks.name": 0.0, "tasks.search": 0.0}

SPEC = MethodSpec(
    name="semantic-convergence",
    title="Semantic Convergence",
    paper="Li et al., AAAI 2025, arXiv 2412.13771; an independent implementation",
    settings=SemanticConvergenceSettings,
    recommender="glta.methods.semantic_convergence.model:SemanticConvergence",
    steps=(
        StepSpec(
            "semantic-codes",
            "glta.methods.semantic_convergence.model:MakeSemanticCodes",
            reads=("prepare", "profile", "pretrain-all"),
            settings=("codes",),
            shares=True,
        ),
        StepSpec(
            "semantic-convergence",
            "glta.methods.semantic_convergence.model:AlignLanguage",
            reads=("prepare", "profile", "semantic-codes"),
            settings=("tasks", "align"),
            shared=("causal",),
            threads=2,
            shares=True,
        ),
    ),
    ablations={
        "without-text-loss": Ablation({"codes.text_weight": 0.0}),
        "shuffled-codes": Ablation({"codes.shuffled": True}),
        "rq-vae": Ablation({"codes.kind": "rq-vae"}),
        "next-item-alone": Ablation(NO_TEXT_TASKS),
        "without-negatives": Ablation({"tasks.negatives": 0.0}),
    },
    capabilities=frozenset({"sequences"}),
    devices=("cpu", "cuda"),
    place=150,
)
