"""Train a language model with code tokens on the alignment tasks."""

# B prompts of a step
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from glta.methods.semantic_convergence.spec import AlignmentSettings
from glta.methods.semantic_convergence.tasks import AlignmentTasks, Drawn
from glta.nn.generation.next_codes import by_length
from glta.nn.language.code_language import CodeLanguage
from glta.progress import track
from glta.training.rates import move_rates
from glta.training.seeds import Stream, seed_torch
from glta.training.trainer import Task

Batch = tuple[int, list[Drawn]]


class AlignmentTraining(Task):
    """Train a `CodeLanguage`. The loss of a task is the mean over its answer tokens of a step.

    The loss is the sum of the tasks' losses by their weights. evaluate: returns validation NDCG@20
    of generated lists; None trains without validation.
    """

    section = "settings.semantic-convergence.align"
    shows_batches: ClassVar[bool] = True

    def __init__(
        self,
        network: CodeLanguage,
        tasks: AlignmentTasks,
        settings: AlignmentSettings,
        seed: int,
        evaluate: Callable[[], float] | None = None,
    ):
        self.network = network
        self.tasks = tasks
        self.settings = settings
        self.seed = seed
        self.evaluate = evaluate
        self.learning_rate = settings.learning_rate

    def trained(self) -> Mapping[str, nn.Parameter]:
        return self.network.trained()

    def tensors(self) -> Mapping[str, torch.Tensor]:
        return self.network.tensors()

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.network.load(tensors)

    def optimizer(self) -> torch.optim.Optimizer:
        rates = {True: self.settings.code_learning_rate, False: self.settings.learning_rate}
        groups = [
            {"params": [parameter], "rate": rates[name in ("code", "code_head")]}
            for name, parameter in self.trained().items()
        ]
        self._optimizer = torch.optim.AdamW(
            groups, lr=0.0, weight_decay=self.settings.weight_decay, fused=True
        )
        return self._optimizer

    def batches(self, epoch: int) -> Iterable[Batch]:
        steps = self.settings.steps_of(epoch)
        shown = track(steps, f"{self.section} epoch {epoch + 1}") if self.devices.is_main else steps
        return self._drawn(shown)

    def _drawn(self, steps: Iterable[int]) -> Iterator[Batch]:
        for step in steps:
            yield step, self.tasks.of_step(step)

    def backward(self, batch: Batch) -> dict[str, float]:
        step, drawn = batch
        move_rates(self._optimizer, step, self.settings.steps)
        # by the step, so that the same is dropped whatever the length of an epoch
        seed_torch(self.seed, step, Stream.DROPOUT, self.devices.rank)
        tokens: Counter[str] = Counter()
        for each in drawn:
            tokens[each.task] += int(each.prompt.answer.sum())
        found = dict.fromkeys(self.tasks.settings.weights, 0.0)
        mine = drawn[self.devices.share(len(drawn))]
        with self.network.dropout(self.settings.dropout):
            for part in self._parts(mine):
                self._add_gradient(part, tokens, found)
        weights = self.tasks.settings.weights
        return {"loss": sum(weights[task] * loss for task, loss in found.items()), **found}

    def _parts(self, drawn: Sequence[Drawn]) -> Iterator[list[Drawn]]:
        """Group prompts of like lengths, at most `micro_batch` each."""
        lengths = np.array([len(each.prompt) for each in drawn], np.int64)
        for places in by_length(lengths):
            size = self.settings.micro_batch or places.size
            for start in range(0, places.size, size):
                yield [drawn[place] for place in places[start : start + size]]

    def _add_gradient(
        self, part: Sequence[Drawn], tokens: Mapping[str, int], found: dict[str, float]
    ) -> None:
        """Add the gradient of some prompts' share of the loss, and their shares of the losses."""
        answers = self.network.losses([each.prompt for each in part])
        share = answers.loss.new_tensor([1 / tokens[each.task] for each in part])
        weights = self.tasks.settings.weights
        weight = answers.loss.new_tensor([weights[each.task] for each in part])
        shares = answers.loss * share[answers.row]
        (shares * weight[answers.row]).sum().backward()
        of_prompt = torch.zeros_like(share).index_add(0, answers.row, shares.detach())
        for each, value in zip(part, of_prompt.tolist(), strict=True):
            found[each.task] += value

    def validate(self, epoch: int) -> float | None:
        return None if self.evaluate is None or epoch < 0 else self.evaluate()
