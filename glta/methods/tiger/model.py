"""TIGER: an encoder-decoder generates the codes of the next item."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from glta.methods.base import Job, Step
from glta.methods.exhibit import Exhibit
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.code_step import CodedItems, MakeItemCodes
from glta.methods.shared.generated_lists import GeneratedScorer, newest
from glta.nn.generation.settings import NextCodesSettings
from glta.storage.arrays import joined, load_arrays, part_of, save_arrays
from glta.storage.files import read_json, write_json

if TYPE_CHECKING:
    from glta.nn.generation.item_generator import ItemGenerator


@dataclass(frozen=True, eq=False)
class TIGER(GeneratedScorer):
    """Score by the log-probability of an item's codes after a user's history.

    weights: of the network, by their names in `CodeTransformer`.
    settings: with which it was trained. best_epoch: with the best validation NDCG@20, whose weights
    these are. history: one record an epoch. exhibit: how good the codes are.
    """

    name = "tiger"
    weights: dict[str, np.ndarray]
    settings: NextCodesSettings
    best_epoch: int
    history: list[dict[str, Any]] = field(default_factory=list)
    exhibit: Exhibit | None = None

    @cached_property
    def generator(self) -> ItemGenerator:
        """The network with these weights, and the tree of the codes."""
        import torch

        from glta.nn.generation.encoder_decoder import CodeTransformer
        from glta.nn.generation.next_codes import generator_of
        from glta.training.devices import find_devices

        network = CodeTransformer(self.codes, self.codes_per_level, self.settings, seed=0)
        network.load_state_dict({name: torch.from_numpy(x) for name, x in self.weights.items()})
        network.to(find_devices().device)
        return generator_of(network, self.settings)

    @property
    def trainable_parameters(self) -> int:
        return sum(array.size for array in self.weights.values())

    def save(self, folder: Path) -> None:
        arrays = {"codes": self.codes, "window": self.window} | joined({"network": self.weights})
        meta = {
            "settings": self.settings.model_dump(),
            "codes_per_level": list(self.codes_per_level),
        }
        save_arrays(folder / "model.safetensors", arrays, meta)
        count = self.trainable_parameters
        write_about(folder, self.name, trainable_parameters=count, best_epoch=self.best_epoch)
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
            NextCodesSettings(**meta["settings"]),
            about["best_epoch"],
            read_json(folder / "history.json"),
            Exhibit.load(folder),
        )


class MakeTIGERCodes(MakeItemCodes):
    """Make the codes that TIGER generates."""


class TrainTIGER(Step):
    """Train the encoder-decoder, with early stopping on validation NDCG@20.

    `run` raises ValueError for data without times, and when no user has two training items.
    """

    def run(self, job: Job) -> TIGER:
        # imported here, so that loading does without torch
        from glta.methods.shared.generated_lists import generated_ndcg
        from glta.nn.generation.encoder_decoder import CodeTransformer
        from glta.nn.generation.next_codes import NextCodesTask, generator_of
        from glta.training.devices import find_devices
        from glta.training.trainer import train

        settings = job.own(NextCodesSettings, "train")
        histories = job.prepared.timed("tiger")
        coded = CodedItems.load(job.source("tiger-codes"), histories.num_items)
        codes, sizes = coded.codes.codes, coded.codes.codes_per_level
        network = CodeTransformer(codes, sizes, settings, job.seed)
        network.to(find_devices().device)
        window = newest(histories, settings.max_items)
        generator = generator_of(network, settings)
        task = NextCodesTask(
            network,
            histories,
            settings,
            job.seed,
            section="settings.tiger.train",
            evaluate=lambda: generated_ndcg(job.prepared, generator, window),
        )
        trained = train(
            task,
            epochs=settings.epochs,
            patience=settings.patience,
            checkpoint=job.checkpoint,
            on_epoch=job.on_epoch,
        )
        weights = {name: t.detach().cpu().numpy() for name, t in network.state_dict().items()}
        return TIGER(
            codes,
            sizes,
            window,
            weights,
            settings,
            trained.best_epoch,
            trained.history,
            coded.exhibit,
        )
