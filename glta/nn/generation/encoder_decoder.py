"""An encoder reads the codes of a history, a decoder gives the codes of the next item.

The layers are those of T5 (Raffel et al., JMLR 2020): norms without means before each part, no
biases, heads of a width of their own.
"""

# B histories, N items of the longest, M codes of an item, S = 1 + N * M tokens, D width,
# G histories with R rows each, T tokens of a row, K codes of a level
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from glta.nn.generation.settings import NextCodesSettings


class Memory(NamedTuple):
    """Hold what the encoder made of histories.

    state: (B, S, D). mask: (B, S), True where there is a token.
    """

    state: torch.Tensor
    mask: torch.Tensor


class HeadAttention(nn.Module):
    """Attend from one list of tokens to another."""

    def __init__(self, params: NextCodesSettings):
        super().__init__()
        inner = params.heads * params.head_width
        self.heads = params.heads
        self.dropout = params.dropout
        self.query = nn.Linear(params.width, inner, bias=False)
        self.key_value = nn.Linear(params.width, 2 * inner, bias=False)
        self.output = nn.Linear(inner, params.width, bias=False)

    def forward(
        self,
        x_BTD: torch.Tensor,
        to_BSD: torch.Tensor,
        mask_BS: torch.Tensor | None = None,
        causal: bool = False,
    ) -> torch.Tensor:
        key, value = self.key_value(to_BSD).chunk(2, 2)
        mixed = F.scaled_dot_product_attention(
            self._split(self.query(x_BTD)),
            self._split(key),
            self._split(value),
            attn_mask=None if mask_BS is None else mask_BS[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """Give each head its part of the width."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Add self-attention and a feed-forward layer to each token."""

    def __init__(self, params: NextCodesSettings):
        super().__init__()
        self.dropout = params.dropout
        self.own_norm = nn.RMSNorm(params.width, eps=1e-6)
        self.own = HeadAttention(params)
        self.norm = nn.RMSNorm(params.width, eps=1e-6)
        self.first = nn.Linear(params.width, params.hidden_dim, bias=False)
        self.second = nn.Linear(params.hidden_dim, params.width, bias=False)

    def forward(self, x_BSD: torch.Tensor, mask_BS: torch.Tensor) -> torch.Tensor:
        normed = self.own_norm(x_BSD)
        return self._fed(x_BSD + self._dropped(self.own(normed, normed, mask_BS)))

    def _fed(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self._dropped(F.relu(self.first(self.norm(x))))
        return x + self._dropped(self.second(hidden))

    def _dropped(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training)


class DecoderLayer(EncoderLayer):
    """Let each token see the earlier ones of its row, and the memory of its history."""

    def __init__(self, params: NextCodesSettings):
        super().__init__(params)
        self.memory_norm = nn.RMSNorm(params.width, eps=1e-6)
        self.memory = HeadAttention(params)

    def forward(  # type: ignore[override]  # a decoder reads more than an encoder
        self, x_GRTD: torch.Tensor, memory: Memory
    ) -> torch.Tensor:
        rows = x_GRTD.shape[1]
        x = x_GRTD.flatten(0, 1)
        normed = self.own_norm(x)
        x = x + self._dropped(self.own(normed, normed, causal=True))
        # all rows of a history ask the same memory, which is therefore not copied
        x = x.unflatten(0, (-1, rows)).flatten(1, 2)
        x = x + self._dropped(self.memory(self.memory_norm(x), memory.state, memory.mask))
        return self._fed(x).unflatten(1, (rows, -1))


class CodeTransformer(nn.Module):
    """Generate the next item's codes from a history.

    codes_IM: of the items. codes_per_level: how many codes each level has.
    token: (sum of K, D); each level has tokens of its own, for input and for output. age:
    (max_items, D); the newest item has the first row. begin: (2, D), the first token of a history,
    and that of the decoder.
    The weights are drawn from a generator of their own with the seed.
    """

    codes: torch.Tensor
    offset: torch.Tensor

    def __init__(
        self,
        codes_IM: np.ndarray,
        codes_per_level: Sequence[int],
        params: NextCodesSettings,
        seed: int,
    ):
        super().__init__()
        self.dropout = params.dropout
        self.sizes = tuple(codes_per_level)
        offset = np.cumsum([0, *self.sizes[:-1]])
        self.register_buffer("codes", torch.from_numpy(codes_IM.astype(np.int64)), persistent=False)
        self.register_buffer("offset", torch.from_numpy(offset), persistent=False)
        self.token = nn.Parameter(torch.empty(sum(self.sizes), params.width))
        self.age = nn.Parameter(torch.empty(params.max_items, params.width))
        self.begin = nn.Parameter(torch.empty(2, params.width))
        layers = range(params.layers)
        self.encoder = nn.ModuleList(EncoderLayer(params) for _ in layers)
        self.decoder = nn.ModuleList(DecoderLayer(params) for _ in layers)
        self.encoder_norm = nn.RMSNorm(params.width, eps=1e-6)
        self.decoder_norm = nn.RMSNorm(params.width, eps=1e-6)
        self._draw(torch.Generator().manual_seed(seed))

    def _draw(self, generator: torch.Generator) -> None:
        for name, parameter in self.named_parameters():
            if name in ("token", "age", "begin"):
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=generator)
            elif parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter, generator=generator)
            else:
                nn.init.ones_(parameter)

    def encode(self, window_BN: torch.Tensor) -> Memory:
        """Read histories. window_BN: item ids, the newest in the last column, -1 for no item."""
        known = window_BN >= 0
        width = int(known.any(0).sum())
        window_BN = window_BN[:, window_BN.shape[1] - width :]
        token = self.codes[window_BN.clamp(min=0)] + self.offset
        x = F.embedding(token, self.token) + self.age[:width].flip(0)[:, None]
        begin = self.begin[0].expand(len(x), 1, -1)
        x = self._entered(torch.cat([begin, x.flatten(1, 2)], 1))
        mask = known[:, known.shape[1] - width :].repeat_interleave(len(self.sizes), 1)
        mask = F.pad(mask, (1, 0), value=True)
        for layer in self.encoder:
            x = layer(x, mask)
        return Memory(self._dropped(self.encoder_norm(x)), mask)

    def decode(self, memory: Memory, prefix_GRL: torch.Tensor) -> torch.Tensor:
        """Return the state after the beginning and after each code: (G, R, L + 1, D)."""
        token = prefix_GRL + self.offset[: prefix_GRL.shape[2]]
        begin = self.begin[1].expand(*token.shape[:2], 1, -1)
        x = self._entered(torch.cat([begin, F.embedding(token, self.token)], 2))
        for layer in self.decoder:
            x = layer(x, memory)
        return self._dropped(self.decoder_norm(x))

    def logits(self, state: torch.Tensor, level: int) -> torch.Tensor:
        """Return the logits of the codes of a level, (..., K)."""
        begin = sum(self.sizes[:level])
        return state @ self.token[begin : begin + self.sizes[level]].T

    def loss(self, window_BN: torch.Tensor, target_B: torch.Tensor) -> torch.Tensor:
        """Return the sum over histories of -log p(the codes of the next item), ().

        The softmax of a level is over all of its codes, and the codes before are the true ones.
        """
        codes = self.codes[target_B]
        state = self.decode(self.encode(window_BN), codes[:, None, :-1])[:, 0]
        losses = [
            F.cross_entropy(self.logits(state[:, level], level), codes[:, level], reduction="sum")
            for level in range(len(self.sizes))
        ]
        return torch.stack(losses).sum()

    def _entered(self, x: torch.Tensor) -> torch.Tensor:
        """Bring the embeddings of tokens to the scale of the layers."""
        return self._dropped(x * self.token.shape[1] ** 0.5)

    def _dropped(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training)
