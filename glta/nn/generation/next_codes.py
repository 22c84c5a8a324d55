"""Train an encoder-decoder on histories, and generate items with it."""

# U users, I items, N items of a window, B users of a block, R rows
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from glta.data.sequences import Sequences
from glta.nn.generation.encoder_decoder import CodeTransformer, Memory
from glta.nn.generation.item_generator import ItemGenerator
from glta.nn.generation.prefix_tree import NextLogits
from glta.nn.generation.settings import NextCodesSettings
from glta.training.seeds import Stream, epoch_rng, seed_torch
from glta.training.trainer import Task


def logits_after(network: CodeTransformer, memory: Memory) -> NextLogits:
    """Return what computes logits for prefixes of the histories in a memory."""

    def compute(
        prefix_RL: torch.Tensor, owner_R: torch.Tensor, state: Any, parent_R: torch.Tensor | None
    ) -> tuple[torch.Tensor, Any]:
        # codes are few, so that whole prefixes are read again instead of keeping a state
        group, count = torch.unique_consecutive(owner_R, return_counts=True)
        which = torch.repeat_interleave(count)
        slot = torch.arange(len(which), device=which.device) - (count.cumsum(0) - count)[which]
        shape = (len(group), int(count.max()), prefix_RL.shape[1])
        padded = prefix_RL.new_zeros(shape)
        padded[which, slot] = prefix_RL
        with torch.no_grad():
            found = network.decode(Memory(memory.state[group], memory.mask[group]), padded)
        return network.logits(found[which, slot, -1], prefix_RL.shape[1]), None

    return compute


def by_length(length_B: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the places of at most 2, 4, 8, ... items: most histories are short.

    Read together, all would be padded to the longest.
    """
    shortest, limit = -1, 2
    while (length_B > shortest).any():
        chosen = np.flatnonzero((length_B > shortest) & (length_B <= limit))
        if chosen.size:
            yield chosen
        shortest, limit = limit, 2 * limit


def generator_of(network: CodeTransformer, params: NextCodesSettings) -> ItemGenerator:
    """Return what generates items with a network, which is in evaluation mode from here on.

    Several threads may generate at once, so no call changes the mode. A training switches it for
    each validation, see `NextCodesTask.validate`.
    """
    network.eval()
    device = network.codes.device

    def read(window_BN: np.ndarray) -> NextLogits:
        window = torch.from_numpy(window_BN.astype(np.int64)).to(device)
        with torch.no_grad():
            memory = network.encode(window)
        return logits_after(network, memory)

    return ItemGenerator(network.codes.cpu().numpy(), read, params, device)


class NextCodesTask(Task):
    """Train on every item of the training histories but the first of each, by those before it.

    A pass goes over all of them once, in a new order. An epoch of the trainer is `evaluate_every`
    steps. evaluate: returns the validation metric, and is called in evaluation mode; None trains
    without validation.
    """

    def __init__(
        self,
        network: CodeTransformer,
        histories: Sequences,
        params: NextCodesSettings,
        seed: int,
        *,
        section: str,
        evaluate: Callable[[], float] | None = None,
    ):
        self.network = network
        self.histories = histories
        self.params = params
        self.seed = seed
        self.section = section
        self.evaluate = evaluate
        self.learning_rate = params.learning_rate
        first = histories.indptr[histories.user]
        self.target = np.flatnonzero(np.arange(len(histories)) > first)
        if not self.target.size:
            raise ValueError(
                f"{section}: no user has two training items, so there is no next item to learn; "
                "raise prepare.user_core"
            )
        self._drawn = (-1, self.target)

    def trained(self) -> dict[str, nn.Parameter]:
        return dict(self.network.named_parameters())

    def optimizer(self) -> torch.optim.Optimizer:
        self.network.train()
        return torch.optim.AdamW(
            self.network.parameters(),
            lr=self.learning_rate,
            weight_decay=self.params.weight_decay,
            fused=True,
        )

    def batches(self, epoch: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the number of each step, and the places of its targets in the histories."""
        size = self.params.batch_size
        in_a_pass = -(-len(self.target) // size)
        for step in self.params.steps_of(epoch):
            number, place = divmod(step, in_a_pass)
            yield step, self._pass(number)[place * size : (place + 1) * size]

    def _pass(self, number: int) -> np.ndarray:
        """Return the targets of a pass in its order. That of the last pass is kept."""
        if number != self._drawn[0]:
            self._drawn = (number, epoch_rng(self.seed, number).permutation(self.target))
        return self._drawn[1]

    def backward(self, batch: tuple[int, np.ndarray]) -> dict[str, torch.Tensor]:
        step, chosen = batch
        # by the step, so that the same is dropped whatever the length of an epoch
        seed_torch(self.seed, step, Stream.DROPOUT, self.devices.rank)
        mine = chosen[self.devices.share(len(chosen))]
        device = self.network.codes.device
        if not len(mine):
            return {"loss": torch.zeros((), device=device)}
        found = self.histories
        before = found.before_each(mine, self.params.max_items)
        window = torch.from_numpy(before.item).to(device)
        target = torch.from_numpy(found.item[mine]).to(device)
        parts = [torch.from_numpy(part).to(device) for part in by_length(before.mask.sum(1))]
        losses = [self.network.loss(window[part], target[part]) for part in parts]
        loss = torch.stack(losses).sum() / len(chosen)
        loss.backward()
        return {"loss": loss}

    def validate(self, epoch: int) -> float | None:
        if self.evaluate is None or epoch < 0:
            return None
        self.network.eval()
        value = self.evaluate()
        self.network.train()
        return value

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.network.state_dict()

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.network.load_state_dict(tensors)
