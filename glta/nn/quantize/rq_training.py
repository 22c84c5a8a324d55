"""Train an RQ-VAE on the vectors and text states of all items."""

# I items, D width of the vectors, W width of the text states, F width of the codes' vectors
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from glta.nn.quantize.codebooks import Codebooks, residual_k_means
from glta.nn.quantize.rq_vae import RQVAE, nearest_codes
from glta.nn.quantize.settings import CodeSettings
from glta.nn.quantize.spaces import Centring, EncodedSpace
from glta.training.devices import find_devices
from glta.training.seeds import Stream, epoch_rng
from glta.training.trainer import Task, train


class RQVAETask(Task):
    """Train an RQ-VAE.

    The codebooks start from residual k-means of what the encoder makes of all items. A pass goes
    over all items once, in a new order. At the beginning of every later epoch, codes that no item
    has move to what random items leave over there.
    Validation: minus the loss of all items without the losses that only move encoder and codes
    together: error + text_weight * text. There is nothing to hold out: the codes describe the
    items of the catalogue, and no pair of validation or test is used.
    vector_ID, text_IW: on one scale, see `Centring`.
    """

    def __init__(
        self,
        network: RQVAE,
        vector_ID: torch.Tensor,
        text_IW: torch.Tensor,
        seed: int,
        *,
        section: str,
    ):
        self.network = network
        self.settings = network.settings
        self.vector = vector_ID
        self.text = text_IW
        self.seed = seed
        self.section = section
        self.learning_rate = self.settings.learning_rate

    def trained(self) -> dict[str, nn.Parameter]:
        return dict(self.network.named_parameters())

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.learning_rate, fused=True)

    def start(self) -> None:
        """Put the codes where k-means finds the centres."""
        rows = self.network.encoded(self.vector)
        found = residual_k_means(rows, self.settings, self.seed)
        with torch.no_grad():
            self.network.books.copy_(torch.from_numpy(found.levels))

    def batches(self, epoch: int) -> Iterator[torch.Tensor]:
        """Yield the items of each step."""
        if epoch and self.settings.restart_dead:
            self.restart_dead(epoch_rng(self.seed, epoch, Stream.DEAD_CODES))
        size = self.settings.batch_size
        in_a_pass = -(-len(self.vector) // size)
        for step in self.settings.steps_of(epoch):
            number, place = divmod(step, in_a_pass)
            order = epoch_rng(self.seed, number).permutation(len(self.vector))
            chosen = order[place * size : (place + 1) * size]
            yield torch.from_numpy(chosen).to(self.vector.device)

    @torch.no_grad()
    def restart_dead(self, rng: np.random.Generator) -> int:
        """Move the codes that no item has, level by level. Returns how many there were."""
        rest = self.network.encoder(self.vector)
        moved = 0
        for book_KF in self.network.books:
            used = nearest_codes(rest, book_KF).unique()
            is_dead = torch.ones(len(book_KF), dtype=torch.bool, device=book_KF.device)
            is_dead[used] = False
            dead = is_dead.nonzero()[:, 0][: len(rest)]
            items = torch.from_numpy(rng.choice(len(rest), len(dead), replace=False))
            book_KF[dead] = rest[items.to(rest.device)]
            rest = rest - book_KF[nearest_codes(rest, book_KF)]
            moved += len(dead)
        return moved

    def backward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        losses = self.network.losses(self.vector[batch], self.text[batch], self.devices.share)
        loss = self.network.total(losses)
        loss.backward()
        return {"loss": loss, "error": losses.error, "text": losses.text}

    @torch.no_grad()
    def validate(self, epoch: int) -> float:
        total = 0.0
        for begin in range(0, len(self.vector), self.settings.batch_size):
            some = slice(begin, begin + self.settings.batch_size)
            losses = self.network.losses(self.vector[some], self.text[some])
            value = losses.error + self.settings.text_weight * losses.text
            total += value.item() * len(self.vector[some])
        return -total / len(self.vector)

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.network.state_dict()

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.network.load_state_dict(tensors)


def trained_rq_vae(
    vectors_ID: np.ndarray,
    text_IW: np.ndarray,
    settings: CodeSettings,
    seed: int,
    *,
    section: str,
    checkpoint: Path | None,
    on_epoch: Callable[[dict], None],
) -> tuple[EncodedSpace, Codebooks, list[dict]]:
    """Train an RQ-VAE. Returns its networks, its codebooks and the history of the training."""
    device = find_devices().device
    vector = Centring.of(vectors_ID, unit=settings.unit_vectors)
    network = RQVAE(vectors_ID.shape[1], text_IW.shape[1], settings, seed).to(device)
    task = RQVAETask(
        network,
        torch.from_numpy(vector.rows(vectors_ID)).to(device),
        torch.from_numpy(Centring.of(text_IW, unit=True).rows(text_IW)).to(device),
        seed,
        section=section,
    )
    trained = train(
        task,
        epochs=settings.epochs,
        patience=settings.patience,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    space = EncodedSpace(vector, network.encoder.arrays(), network.decoder.arrays())
    return space, Codebooks(network.books.detach().cpu().numpy()), trained.history
