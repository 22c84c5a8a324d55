"""Train a network to predict the next item of every history, and encode users with it."""

# U users, I items, D width, B windows, P positions that are predicted
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from glta.data.sequences import Sequences
from glta.nn.graph.losses import log_sum_exp
from glta.nn.sequence.self_attention import SelfAttention, Windows
from glta.nn.sequence.settings import SequenceTraining
from glta.training.seeds import Stream, epoch_rng, seed_torch
from glta.training.trainer import Task

Evaluate = Callable[[np.ndarray, np.ndarray], float]
"""Maps the states of users (U, D) and embeddings of items (I, D) to the validation metric."""


def pieces(histories: Sequences, max_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut histories into the windows of a pass: where each begins, and its length, (B,) int64.

    Every item but the newest of each user is in one window. It predicts the item after it. Pieces
    are cut from the new end, so a user's oldest piece may be shorter.
    """
    predicted = np.maximum(histories.length - 1, 0)
    count = -(-predicted // max_length)
    user = np.repeat(np.arange(histories.num_users), count)
    number = np.arange(user.size) - np.repeat(np.cumsum(count) - count, count)  # 0 is the newest
    end = predicted[user] - number * max_length
    length = np.minimum(end, max_length)
    return histories.indptr[user] + end - length, length


@torch.inference_mode()
def encode_users(network: SelfAttention, histories: Sequences, block: int = 4096) -> np.ndarray:
    """Encode the newest items of each user: (U, D) float32, zeros for a user without items."""
    was = network.training
    network.eval()
    device = network.item.device
    states = np.zeros((histories.num_users, network.item.shape[1]), np.float32)
    item = torch.from_numpy(histories.item).to(device)
    item_ID = network.embeddings()
    length = np.minimum(histories.length, len(network.position))
    users = np.flatnonzero(length)
    users = users[np.argsort(length[users], kind="stable")]
    for start in range(0, users.size, block):
        some = users[start : start + block]
        end = torch.from_numpy(histories.indptr[some + 1]).to(device)
        size = torch.from_numpy(length[some]).to(device)
        state, place = network(Windows(item, end - size, size), item_ID)
        last = torch.isin(place, end - 1)
        owner = histories.user[place[last].cpu().numpy()]
        states[owner] = state[last].cpu().numpy()
    network.train(was)
    return states


def draw_negatives(histories: Sequences, rng: np.random.Generator, user: np.ndarray) -> np.ndarray:
    """Draw one item for each entry of `user` that this user does not have, (P,) int64.

    An item is drawn anew while the user has it, at most 20 times.
    """
    size = histories.num_items
    owned = np.unique(histories.user * size + histories.item)
    drawn = rng.integers(size, size=user.size)
    wrong = np.arange(user.size)
    for _ in range(20):
        key = user[wrong] * size + drawn[wrong]
        wrong = wrong[np.isin(key, owned)]
        if not wrong.size:
            break
        drawn[wrong] = rng.integers(size, size=wrong.size)
    return drawn


def next_item_loss(
    network: SelfAttention, windows: Windows, negative_S: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the sum over the windows' items of the loss of the item after each, ().

    Without negatives: the cross-entropy of the next item among all items.
    negative_S: a negative for each place of `windows.item`. Then it is the binary cross-entropy of
        the next item and of this negative, as published.
    """
    item_ID = network.embeddings()
    state_PD, place_P = network(windows, item_ID)
    target_P = windows.item[place_P + 1]
    positive_P = (state_PD * F.embedding(target_P, item_ID)).sum(1)
    if negative_S is None:
        ones = state_PD.new_ones(len(state_PD))
        return log_sum_exp(state_PD, item_ID, ones) - positive_P.sum()
    negative_P = (state_PD * F.embedding(negative_S[place_P], item_ID)).sum(1)
    return F.softplus(-positive_P).sum() + F.softplus(negative_P).sum()


class NextItemTask(Task):
    """Train a network on the training histories.

    A pass goes over all pieces of the histories once, in a new order. An epoch of the trainer is
    `evaluate_every` steps. evaluate: None trains without validation.
    """

    def __init__(
        self,
        network: SelfAttention,
        histories: Sequences,
        params: SequenceTraining,
        seed: int,
        *,
        section: str,
        evaluate: Evaluate | None = None,
    ):
        self.network = network
        self.histories = histories
        self.params = params
        self.seed = seed
        self.section = section
        self.evaluate = evaluate
        self.learning_rate = params.learning_rate
        begin, length = pieces(histories, params.max_length)
        if not length.size:
            raise ValueError(
                f"{section}: no user has two training items, so there is no next item to learn; "
                "raise prepare.user_core"
            )
        device = network.item.device
        self.item = torch.from_numpy(histories.item).to(device)
        self.begin, self.length = (torch.from_numpy(x).to(device) for x in (begin, length))
        self._drawn: tuple[int, torch.Tensor, torch.Tensor | None] = (-1, self.begin, None)

    def trained(self) -> dict[str, nn.Parameter]:
        return {n: p for n, p in self.network.named_parameters() if p.requires_grad}

    def optimizer(self) -> torch.optim.Optimizer:
        self.network.train()
        return torch.optim.Adam(
            self.trained().values(), lr=self.learning_rate, betas=(0.9, 0.98), fused=True
        )

    def batches(self, epoch: int) -> Iterator[tuple[int, torch.Tensor, torch.Tensor | None]]:
        """Yield the number of each step, the numbers of its pieces, and the negatives."""
        size = self.params.batch_size
        in_a_pass = -(-len(self.begin) // size)
        for step in self.params.steps_of(epoch):
            number, place = divmod(step, in_a_pass)
            order, negative = self._pass(number)
            yield step, order[place * size : (place + 1) * size], negative

    def _pass(self, number: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the order of a pass and its negatives. Those of the last pass are kept."""
        if number != self._drawn[0]:
            rng = epoch_rng(self.seed, number)
            order = torch.from_numpy(rng.permutation(len(self.begin))).to(self.item.device)
            negative = None
            if self.params.loss == "bce":
                drawn = draw_negatives(self.histories, rng, self.histories.user)
                negative = torch.from_numpy(drawn).to(self.item.device)
            self._drawn = (number, order, negative)
        return self._drawn[1:]

    def backward(
        self, batch: tuple[int, torch.Tensor, torch.Tensor | None]
    ) -> dict[str, torch.Tensor]:
        step, chosen, negative = batch
        # by the step, so that the same is dropped whatever the length of an epoch
        seed_torch(self.seed, step, Stream.DROPOUT, self.devices.rank)
        total = self.length[chosen].sum()
        mine = chosen[self.devices.share(len(chosen))]
        if not len(mine):
            return {"loss": self.item.new_zeros((), dtype=torch.float32)}
        windows = Windows(self.item, self.begin[mine], self.length[mine])
        loss = next_item_loss(self.network, windows, negative) / total
        loss.backward()
        return {"loss": loss}

    def validate(self, epoch: int) -> float | None:
        if self.evaluate is None or epoch < 0:
            return None
        return self.evaluate(
            encode_users(self.network, self.histories),
            self.network.embeddings().detach().cpu().numpy(),
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.network.state_dict()

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.network.load_state_dict(tensors)
