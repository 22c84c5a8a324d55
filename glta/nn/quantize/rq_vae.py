"""RQ-VAE: an autoencoder whose hidden vector is a sum of codes (Zeghidour et al. 2021)."""

# B items of a batch, D width of the vectors, F width of the codes' vectors, L levels, K codes of a
# level, W width of the text states
from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from glta.nn.graph.losses import Share, everything, info_nce
from glta.nn.quantize.settings import CodeSettings
from glta.nn.text.state_map import StateMap
from glta.training.seeds import Stream, epoch_rng

AS_START = 2**31 - 1
"""Stands for an epoch: the generator of initial weights, which no level of k-means uses."""


class Quantized(NamedTuple):
    """Hold quantised rows.

    codes: (B, L). passed: (B, F), the sum of the codes' vectors, with the gradient of the row.
    books, commitment: (), the sums over rows and levels of the two squared distances between
    what is left over and the code's vector. The gradient of `books` moves the codes alone, that of
    `commitment` the rows alone.
    """

    codes: torch.Tensor
    passed: torch.Tensor
    books: torch.Tensor
    commitment: torch.Tensor


class ItemLosses(NamedTuple):
    """Hold the losses of items as means, each ().

    error: squared distance between a vector and its decoding. text: contrast of the quantised row
    and the text state. books, commitment: see `Quantized`.
    """

    error: torch.Tensor
    text: torch.Tensor
    books: torch.Tensor
    commitment: torch.Tensor


def quantized(row_BF: torch.Tensor, books_LKF: torch.Tensor) -> Quantized:
    """Quantise rows level by level, with the straight-through gradient.

    What a level leaves over passes no gradient to the codes of earlier levels.
    """
    rest = row_BF
    total = torch.zeros_like(row_BF)
    books = row_BF.new_zeros(())
    commitment = row_BF.new_zeros(())
    codes = []
    for book_KF in books_LKF:
        code = nearest_codes(rest.detach(), book_KF.detach())
        vector = F.embedding(code, book_KF)
        books = books + (vector - rest.detach()).square().sum()
        commitment = commitment + (rest - vector.detach()).square().sum()
        total = total + vector.detach()
        rest = rest - vector.detach()
        codes.append(code)
    passed = row_BF + (total - row_BF).detach()
    return Quantized(torch.stack(codes, 1), passed, books, commitment)


def nearest_codes(row_BF: torch.Tensor, book_KF: torch.Tensor) -> torch.Tensor:
    """Return the code nearest to each row, (B,)."""
    return (row_BF @ book_KF.T - book_KF.square().sum(1) / 2).argmax(1)


class RQVAE(nn.Module):
    """Encode vectors, quantise them, decode them, and compare them with text states.

    Encoder and decoder have one hidden layer. A matrix maps quantised rows to text space.
    width, text_width: D and W.
    """

    def __init__(self, width: int, text_width: int, settings: CodeSettings, seed: int):
        super().__init__()
        self.settings = settings
        hidden, inner = settings.hidden_dim, settings.code_dim
        seeds = epoch_rng(seed, AS_START, Stream.CODES).integers(2**62, size=3).tolist()
        self.encoder = StateMap((width, hidden, inner), seeds[0])
        self.decoder = StateMap((inner, hidden, width), seeds[1])
        self.to_text = StateMap((inner, text_width), seeds[2])
        self.books = nn.Parameter(torch.zeros(settings.levels, settings.codes, inner))

    def losses(
        self, vector_BD: torch.Tensor, text_BW: torch.Tensor, share: Share = everything
    ) -> ItemLosses:
        """Compute the losses of a share of a batch. Those of all shares add up to its mean.

        Items without text (zeros) are left out of the text loss.
        """
        size = len(vector_BD)
        mine = vector_BD[share(size)]
        found = quantized(self.encoder(mine), self.books)
        error = (self.decoder(found.passed) - mine).square().sum() / size
        text = self._text_loss(found.passed, text_BW, share)
        return ItemLosses(error, text, found.books / size, found.commitment / size)

    def total(self, losses: ItemLosses) -> torch.Tensor:
        """Add up the losses by their weights, ()."""
        s = self.settings
        aims = losses.error + s.text_weight * losses.text
        return aims + losses.books + s.commitment * losses.commitment

    def _text_loss(
        self, passed_BF: torch.Tensor, text_BW: torch.Tensor, share: Share
    ) -> torch.Tensor:
        """Return -log softmax of the own text state among those of the batch, by cosine, ()."""
        known = text_BW.any(1)
        if not self.settings.text_weight or not known.any():
            return passed_BF.sum() * 0
        anchor = passed_BF.new_zeros(len(text_BW), text_BW.shape[1])
        mine = torch.arange(len(text_BW), device=text_BW.device)[share(len(text_BW))]
        anchor = anchor.index_copy(0, mine, self.to_text(passed_BF))
        temperature = self.settings.temperature
        return info_nce(anchor, text_BW, text_BW, temperature, known, known, share)

    def encoded(self, vector_ID: torch.Tensor) -> np.ndarray:
        """Encode vectors: (I, F) float32."""
        with torch.inference_mode():
            return self.encoder(vector_ID).cpu().numpy()
