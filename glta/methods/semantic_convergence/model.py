"""Semantic Convergence as a recommender: a language model generates the codes of items."""

# U users, I items, N items of a window, B windows
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from glta.config import Section
from glta.features.profiles import Profiles
from glta.methods.base import Job, Step
from glta.methods.exhibit import Exhibit
from glta.methods.semantic_convergence.spec import AlignmentSettings, TaskSettings
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.code_step import CodedItems, MakeItemCodes
from glta.methods.shared.generated_lists import GeneratedScorer, generated_ndcg, newest
from glta.nn.language.settings import SMALL, CausalSettings
from glta.storage.arrays import joined, load_arrays, part_of, save_arrays
from glta.storage.files import read_json, write_json

if TYPE_CHECKING:
    from glta.methods.semantic_convergence.task_prompts import TaskPrompts
    from glta.nn.generation.item_generator import ItemGenerator
    from glta.nn.generation.prefix_tree import NextLogits
    from glta.nn.language.code_language import CodeLanguage


class LanguageAbout(Section):
    """Describe how a language model was aligned.

    sha256: digest of the model's files in training; of the tokenizer's for the small model.
    """

    causal: CausalSettings
    sha256: str
    tasks: TaskSettings
    align: AlignmentSettings


@dataclass(frozen=True, eq=False)
class SemanticConvergence(GeneratedScorer):
    """Generate the codes of the next item with a language model.

    weights: that were trained, by their names in `CodeLanguage`. texts: of the items.
    best_epoch: with the best validation NDCG@20, whose weights these are. history: one record an
    epoch. exhibit: how good the codes are.
    """

    name = "semantic-convergence"
    weights: dict[str, np.ndarray]
    about: LanguageAbout
    best_epoch: int
    history: list[dict[str, Any]] = field(default_factory=list)
    exhibit: Exhibit | None = None

    @cached_property
    def generator(self) -> ItemGenerator:
        """The language model with these weights. It is loaded at the first use.

        Raises ValueError when it is not found, or has other files than in training.
        """
        import torch

        # checkpointed layers are switched for each call, and threads share the model
        align = self.about.align.model_copy(update={"checkpoint_layers": False})
        about = self.about.model_copy(update={"align": align})
        network = new_network(about, self.codes_per_level, seed=0)
        network.load({name: torch.from_numpy(array) for name, array in self.weights.items()})
        prompts = new_prompts(network, self.codes, [], self.about.tasks)
        return generator_of(network, prompts, self.codes, self.about.align)

    @property
    def trainable_parameters(self) -> int:
        return sum(array.size for array in self.weights.values())

    def save(self, folder: Path) -> None:
        """Write a folder that `load` reads. A named language model is needed besides."""
        arrays = {"codes": self.codes, "window": self.window} | joined({"network": self.weights})
        meta = {"codes_per_level": list(self.codes_per_level), "about": self.about.model_dump()}
        save_arrays(folder / "model.safetensors", arrays, meta)
        trained: dict[str, int] = {}
        for name, array in self.weights.items():
            part = name.partition(".")[0]
            trained[part] = trained.get(part, 0) + array.size
        write_about(
            folder,
            self.name,
            trainable_parameters=self.trainable_parameters,
            best_epoch=self.best_epoch,
            trained=trained,
            language={"model": self.about.causal.model, "sha256": self.about.sha256},
        )
        write_json(folder / "history.json", self.history)
        if self.exhibit is not None:
            self.exhibit.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        about = read_about(folder, cls.name)
        arrays, meta = load_arrays(folder / "model.safetensors")
        return cls(
            arrays["codes"],
            tuple(meta["codes_per_level"]),
            arrays["window"],
            part_of(arrays, "network"),
            LanguageAbout.model_validate(meta["about"]),
            about["best_epoch"],
            read_json(folder / "history.json"),
            Exhibit.load(folder),
        )


class MakeSemanticCodes(MakeItemCodes):
    """Alignment tokenization: make the codes of the items."""


class AlignLanguage(Step):
    """Train the language model on the alignment tasks, with early stopping on validation NDCG@20.

    `run` raises ValueError when no user has two training items, and when the longest prompt is
    longer than what the language model reads.
    """

    def run(self, job: Job) -> SemanticConvergence:
        # imported here, so that loading does without torch
        from glta.methods.semantic_convergence.alignment_training import AlignmentTraining
        from glta.methods.semantic_convergence.tasks import AlignmentTasks
        from glta.training.trainer import train

        settings = job.own(AlignmentSettings, "align")
        tasks = job.own(TaskSettings, "tasks")
        prepared = job.prepared
        coded = CodedItems.load(job.source("semantic-codes"), prepared.train.num_items)
        codes, sizes = coded.codes.codes, coded.codes.codes_per_level
        profiles = Profiles.load(job.source("profile"), prepared.train)
        causal = job.section(CausalSettings, "causal")
        about = LanguageAbout(causal=causal, sha256="", tasks=tasks, align=settings)
        network = new_network(about, sizes, job.seed)
        about = about.model_copy(update={"sha256": network.language.sha256})
        prompts = new_prompts(network, codes, profiles.items["text"].to_list(), tasks)
        check_length(network, prompts, about)
        histories = prepared.sequences
        window = newest(histories, settings.max_items)
        generator = generator_of(network, prompts, codes, settings)
        task = AlignmentTraining(
            network,
            AlignmentTasks(
                histories,
                prompts,
                tasks,
                max_items=settings.max_items,
                batch_size=settings.batch_size,
                shuffled=histories.time is None,
                seed=job.seed,
            ),
            settings,
            job.seed,
            evaluate=lambda: generated_ndcg(prepared, generator, window),
        )
        trained = train(
            task,
            epochs=settings.epochs,
            patience=settings.patience,
            checkpoint=job.checkpoint,
            on_epoch=job.on_epoch,
        )
        weights = {name: tensor.float().cpu().numpy() for name, tensor in network.tensors().items()}
        return SemanticConvergence(
            codes,
            sizes,
            window,
            weights,
            about,
            trained.best_epoch,
            trained.history,
            coded.exhibit,
        )


def new_network(about: LanguageAbout, codes_per_level: Sequence[int], seed: int) -> CodeLanguage:
    """Load or make the language model, and add code tokens. seed: of all random weights.

    about.sha256: the digest that the model's files must have; "" takes that of the settings.
    """
    from glta.nn.language.causal_language import load_causal
    from glta.nn.language.code_language import CodeLanguage

    causal, settings = about.causal, about.align
    small = causal.model == SMALL
    if small and settings.train == "lora":
        raise ValueError(
            "settings.semantic-convergence.align.train = lora: causal.model = small has no "
            "weights to adapt; set whole, or name a pretrained model"
        )
    if about.sha256 and not small:
        causal = causal.model_copy(update={"sha256": about.sha256})
    loaded = load_causal(causal, seed)
    network = CodeLanguage(loaded, codes_per_level, seed)
    language = network.language
    if settings.train == "lora":
        language.add_lora(
            settings.lora_rank,
            alpha=settings.lora_alpha,
            dropout=settings.lora_dropout,
            seed=seed,
        )
    else:
        network.train_whole()
    if settings.checkpoint_layers:
        language.checkpoint_layers()
    return network


def new_prompts(
    network: CodeLanguage, codes_IM: np.ndarray, texts: Sequence[str], settings: TaskSettings
) -> TaskPrompts:
    """Return what writes prompts. texts: of the items; none are needed to generate."""
    from glta.methods.semantic_convergence.task_prompts import TaskPrompts

    return TaskPrompts(network, codes_IM, texts, settings)


def generator_of(
    network: CodeLanguage, prompts: TaskPrompts, codes_IM: np.ndarray, settings: AlignmentSettings
) -> ItemGenerator:
    """Return what generates items for windows of histories."""
    from glta.nn.generation.item_generator import ItemGenerator

    def read(window_BN: np.ndarray) -> NextLogits:
        return network.read([prompts.history(row[row >= 0].tolist()) for row in window_BN])

    return ItemGenerator(codes_IM, read, settings, network.language.device)


def check_length(network: CodeLanguage, prompts: TaskPrompts, about: LanguageAbout) -> None:
    """Raise ValueError when the language model cannot read, or generate after, a longest prompt."""
    most = prompts.longest(about.align.max_items, about.tasks.query_words)
    if most > network.max_tokens:
        raise ValueError(
            f"causal.model = {network.language.name}: reads {network.max_tokens} tokens, but a "
            f"prompt may have {most}; lower settings.semantic-convergence.align.max_items, "
            "tasks.text_tokens or tasks.query_words"
        )
    network.check_generation(most)
