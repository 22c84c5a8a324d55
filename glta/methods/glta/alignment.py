"""Train both alignments alike: their weights, their optimizer, and gradients computed in parts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch

from glta.methods.glta.aligner import Aligner
from glta.methods.glta.settings import AlignItemsSettings, AlignSettings, AlignUsersSettings
from glta.nn.language.node_prompts import Prompt, equal_length_batches
from glta.progress import track
from glta.training.gradients import add_gradient
from glta.training.rates import move_rates
from glta.training.seeds import Stream, seed_torch
from glta.training.trainer import Task, Trained, train

START_PROMPTS = 512
"""Prompts whose states give the head its centre and scale."""

OnEpoch = Callable[[dict], None]


class HasPrompt(Protocol):
    """Describe an example: it has a prompt."""

    @property
    def prompt(self) -> Prompt: ...


Example = TypeVar("Example", bound=HasPrompt)


@dataclass(eq=False)
class Alignment(Task, Generic[Example]):
    """Train the aligner on batches of examples. A subclass defines the batches and their loss.

    aligner: is changed in place. shared: settings of both alignments. seed: of all random numbers.
    """

    aligner: Aligner
    shared: AlignSettings
    seed: int
    shows_batches: ClassVar[bool] = True

    @property
    @abstractmethod
    def settings(self) -> AlignItemsSettings | AlignUsersSettings:
        """Return the settings of this alignment."""

    @abstractmethod
    def drawn(self, epoch: int) -> list[list[Example]]:
        """Draw the batches of an epoch. They depend on the seed and the epoch alone."""

    @abstractmethod
    def nats(self, examples: Sequence[Example]) -> torch.Tensor:
        """Compute the cross-entropy in nats, summed over all targets of the examples."""

    @abstractmethod
    def num_targets(self, examples: Sequence[Example]) -> int:
        """Count the targets of the examples. The loss is averaged over them."""

    @property
    def learning_rate(self) -> float:  # type: ignore[override]
        return self.settings.learning_rate

    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        return self.aligner.trained()

    def tensors(self) -> Mapping[str, torch.Tensor]:
        return self.aligner.tensors()

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.aligner.load(tensors)

    def optimizer(self) -> torch.optim.Optimizer:
        groups = [
            {
                "params": [parameter],
                "rate": self.settings.head_learning_rate
                if name.startswith("head.")
                else self.settings.learning_rate,
            }
            for name, parameter in self.trained().items()
        ]
        # fused: the head, which has most of the weights, is passed over once instead of six times
        self._optimizer = torch.optim.AdamW(
            groups, lr=0.0, weight_decay=self.settings.weight_decay, fused=True
        )
        return self._optimizer

    def batches(self, epoch: int) -> Iterable[list[Example]]:
        # LoRA's dropout takes no generator of its own
        seed_torch(self.seed, epoch, Stream.ADAPTER_DROPOUT, self.devices.rank)
        batches = self.drawn(epoch)
        steps = len(batches) * self.settings.epochs
        shown: Iterable[int] = range(len(batches))
        if self.devices.is_main:
            shown = track(shown, f"{self.section} epoch {epoch + 1}")
        return self._at_rates(batches, shown, epoch * len(batches), steps)

    def _at_rates(
        self, batches: Sequence[list[Example]], shown: Iterable[int], first: int, steps: int
    ) -> Iterator[list[Example]]:
        """Give out the batches, and set the learning rates of each step; see `rate_factor`."""
        for place in shown:
            move_rates(self._optimizer, first + place, steps)
            yield batches[place]

    def batched(self, examples: Sequence[Example], rng: np.random.Generator) -> list[list[Example]]:
        """Put examples into batches of prompts of equal length, in random order."""
        lengths = np.array([len(e.prompt) for e in examples])
        batches = equal_length_batches(lengths, self.settings.batch_size, rng)
        return [[examples[i] for i in batch] for batch in batches]

    def backward(self, batch: Sequence[Example]) -> dict[str, float]:
        mine = batch[self.devices.share(len(batch))]
        with self.aligner.language.dropout():
            loss = add_gradient(self.nats, mine, self.num_targets(batch), self.shared.micro_batch)
        return {"loss": loss}

    def train(self, checkpoint: Path | None, on_epoch: OnEpoch) -> Trained:
        """Train with the epochs and the patience of the settings; see `glta.training.trainer`."""
        epochs, patience = self.settings.epochs, self.settings.patience
        return train(
            self, epochs=epochs, patience=patience, checkpoint=checkpoint, on_epoch=on_epoch
        )
