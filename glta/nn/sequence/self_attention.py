"""SASRec's network (Kang and McAuley, ICDM 2018): a state of the user after each of their items."""

# I items, D width, B windows, L items of the longest window, S items of all windows, U users
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from glta.nn.sequence.settings import SequenceTraining

SHORTEST = 4
"""Windows of at most this many items are computed together, as are those of at most 2, 4, 8, ...
times as many."""

EPSILON = 1e-8
"""Added to variances by all norms, as in the authors' code."""


class Windows(NamedTuple):
    """Name parts of histories that lie one after the other in one list of items.

    item: (S,) ids, of all histories. begin: (B,) where each window begins. length: (B,) >= 1.
    """

    item: torch.Tensor
    begin: torch.Tensor
    length: torch.Tensor


class Block(nn.Module):
    """Compute self-attention and two layers for each item, as the authors' code does.

    q = norm(x); x = q + attention(q, x, x); y = norm(x); x = y + layers(y)
    The residuals are the normed inputs. An item attends to itself and to older items.
    """

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query_norm = nn.LayerNorm(width, eps=EPSILON)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.layer_norm = nn.LayerNorm(width, eps=EPSILON)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, x_BLD: torch.Tensor) -> torch.Tensor:
        query_BLD = self.query_norm(x_BLD)
        key_BLD, value_BLD = self.key_value(x_BLD).chunk(2, 2)
        mixed = F.scaled_dot_product_attention(
            self._split(self.query(query_BLD)),
            self._split(key_BLD),
            self._split(value_BLD),
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=True,
        )
        y_BLD = self.layer_norm(query_BLD + self.output(mixed.transpose(1, 2).flatten(2)))
        hidden_BLD = self._dropped(F.relu(self.first(y_BLD)))
        return y_BLD + self._dropped(self.second(hidden_BLD))

    def _split(self, x_BLD: torch.Tensor) -> torch.Tensor:
        """Give each head its part of the width: (B, heads, L, D / heads)."""
        return x_BLD.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def _dropped(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training)


class SelfAttention(nn.Module):
    """Encode histories. The score of an item after a history is the state times its embedding.

    item: (I, D). position: (max_length, D); the newest item of a window has the last row, so the
    positions are those of windows that are padded on the left.
    features: (I, F) or None. With features, the embedding of an item is the sum of its row of
    `item` and of a linear map of its features, as input and as output.
    The weights are drawn from a generator of their own with the seed.
    """

    features: torch.Tensor | None

    def __init__(
        self,
        num_items: int,
        params: SequenceTraining,
        seed: int,
        features: torch.Tensor | None = None,
    ):
        super().__init__()
        width = params.embedding_dim
        self.dropout = params.dropout
        self.item = nn.Parameter(torch.empty(num_items, width))
        self.position = nn.Parameter(torch.empty(params.max_length, width))
        self.blocks = nn.ModuleList(
            Block(width, params.heads, params.dropout) for _ in range(params.num_blocks)
        )
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.register_buffer("features", features, persistent=False)
        if features is not None:
            self.feature_map = nn.Linear(features.shape[1], width, bias=False)
        self._draw(params.init_std, torch.Generator().manual_seed(seed))

    def _draw(self, std: float, generator: torch.Generator) -> None:
        for name, parameter in self.named_parameters():
            if name in ("item", "position"):
                nn.init.normal_(parameter, std=std, generator=generator)
            elif parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter, generator=generator)
            else:  # norms begin as identities, biases at 0
                nn.init.constant_(parameter, float("norm" in name and name.endswith("weight")))

    def embeddings(self) -> torch.Tensor:
        """Compute the embeddings of all items, (I, D)."""
        if self.features is None:
            return self.item
        return self.item + self.feature_map(self.features)

    def forward(
        self, windows: Windows, item_ID: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode all windows. item_ID: what `embeddings` returned, where it is known already.

        Returns the states after each item (P, D), P = sum of the lengths, and the place of each of
        these items in `windows.item` (P,). The order is that of the groups, see `groups`.
        """
        size = len(self.position)
        places, positions, masks = [], [], []
        for begin, length in groups(windows):
            step = torch.arange(int(length.max()), device=length.device)
            masks.append(step < length[:, None])
            # places after the end of a window are never seen by those before them
            step = torch.minimum(step, length[:, None] - 1)
            places.append(begin[:, None] + step)
            positions.append(size - length[:, None] + step)
        flat = torch.cat([place.flatten() for place in places])
        item_ID = self.embeddings() if item_ID is None else item_ID
        x = F.embedding(windows.item[flat], item_ID) * item_ID.shape[1] ** 0.5
        x = x + F.embedding(torch.cat([p.flatten() for p in positions]), self.position)
        x = F.dropout(x, self.dropout, self.training)
        states = []
        for x_SD, mask in zip(x.split([m.numel() for m in masks]), masks, strict=True):
            x_BLD = x_SD.unflatten(0, mask.shape)
            for block in self.blocks:
                x_BLD = block(x_BLD)
            states.append(x_BLD[mask])
        valid = torch.cat([mask.flatten() for mask in masks])
        return self.norm(torch.cat(states)), flat[valid]


def groups(windows: Windows) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Put windows of similar lengths together: begin and length of the windows of each group.

    So at most half of a computed rectangle is empty, or SHORTEST - 1 items.
    """
    shortest, limit = 0, SHORTEST
    longest = int(windows.length.max()) if len(windows.length) else 0
    while shortest < longest:
        chosen = (windows.length > shortest) & (windows.length <= limit)
        if chosen.any():
            yield windows.begin[chosen], windows.length[chosen]
        shortest, limit = limit, 2 * limit
