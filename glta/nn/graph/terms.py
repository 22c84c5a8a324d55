"""What rivals add to the ranking loss: contrastive and reconstruction terms over an encoder's
output.

A term is computed for a share of its anchors, against the candidates of the whole batch. So the
terms of several processes add up to that of the batch, whatever the number of processes.
"""

# U users, I items, N = U + I nodes, D embedding width, W language width
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from glta.nn.graph.encoders import Encoded
from glta.nn.graph.losses import Batch, Share, everything, info_nce


def two_layers(width_in: int, width_out: int, seed: int) -> nn.Sequential:
    """Make the map between graph and language that RLMRec uses: linear, LeakyReLU, linear; Xavier
    weights, zero biases.
    """
    middle = (width_in + width_out) // 2
    first, second = nn.Linear(width_in, middle), nn.Linear(middle, width_out)
    generator = torch.Generator().manual_seed(seed + 2)
    with torch.no_grad():
        for linear in (first, second):
            nn.init.xavier_uniform_(linear.weight, generator=generator)
            linear.bias.zero_()
    return nn.Sequential(first, nn.LeakyReLU(), second)


class OfSome(nn.Module):
    """Compute a term from the first triples of each batch: their order is random, and a contrast
    costs their number squared.

    So large batches, which propagate less often, need not contrast more nodes than small ones.
    size: 0 for all triples.
    """

    def __init__(self, term: nn.Module, size: int):
        super().__init__()
        self.term, self.size = term, size

    def forward(self, encoded: Encoded, batch: Batch, share: Share = everything) -> torch.Tensor:
        return self.term(encoded, tuple(ids[: self.size or None] for ids in batch), share)


class LocalGlobal(nn.Module):
    """Contrast each layer's local with its global embedding over the batch's distinct users and
    positives (HCCF).

    The sum over layers and sides of info_nce(sg[local], global; the batch's global ones), as in
    HCCF's torch code.
    """

    def __init__(self, num_users: int, temperature: float):
        super().__init__()
        self.num_users, self.temperature = num_users, temperature

    def forward(self, encoded: Encoded, batch: Batch, share: Share = everything) -> torch.Tensor:
        sides = batch[0].unique(), batch[1].unique() + self.num_users
        total = encoded.hidden.new_zeros(())
        for local, wide in encoded.views:
            for nodes in sides:
                seen = F.embedding(nodes, wide)
                total = total + info_nce(
                    F.embedding(nodes, local.detach()), seen, seen, self.temperature, share=share
                )
        return total


class TextContrast(nn.Module):
    """Tie the batch's items, and its users if their states are given, to their mapped texts
    (LightGCN+ and HCCF+).

    info_nce(h_i, P s_i; the batch's distinct P s_j) with a two-layer map P from W to D. states:
    item (I, W), user (U, W).
    """

    item: torch.Tensor
    user: torch.Tensor | None

    def __init__(
        self,
        item_IW: torch.Tensor,
        user_UW: torch.Tensor | None,
        num_users: int,
        embedding_dim: int,
        temperature: float,
        seed: int,
    ):
        super().__init__()
        self.num_users, self.temperature = num_users, temperature
        self.register_buffer("item", item_IW, persistent=False)
        self.register_buffer("user", user_UW, persistent=False)
        self.map = two_layers(item_IW.shape[1], embedding_dim, seed)

    def forward(self, encoded: Encoded, batch: Batch, share: Share = everything) -> torch.Tensor:
        sides = [(batch[1].unique(), self.item, self.num_users)]
        if self.user is not None:
            sides.append((batch[0].unique(), self.user, 0))
        total = encoded.hidden.new_zeros(())
        for ids, states, offset in sides:
            mapped = self.map(states[ids])
            total = total + info_nce(
                F.embedding(ids + offset, encoded.hidden),
                mapped,
                mapped,
                self.temperature,
                share=share,
            )
        return total


class ProfileContrast(nn.Module):
    """Tie users, positives and negatives to their mapped profiles (RLMRec-Con).

    info_nce(h_u, f(s_u); all users) + the same for positives among the batch's positives, for
    negatives among its negatives.
    """

    states: torch.Tensor

    def __init__(
        self,
        states_NW: torch.Tensor,
        num_users: int,
        embedding_dim: int,
        temperature: float,
        seed: int,
    ):
        super().__init__()
        self.num_users, self.temperature = num_users, temperature
        self.register_buffer("states", states_NW, persistent=False)
        self.map = two_layers(states_NW.shape[1], embedding_dim, seed)

    def forward(self, encoded: Encoded, batch: Batch, share: Share = everything) -> torch.Tensor:
        everyone = self.map(self.states[: self.num_users])
        user, count = batch[0].unique(return_counts=True)
        anchors, own = F.embedding(user, encoded.hidden), F.embedding(user, everyone)
        total = info_nce(anchors, own, everyone, self.temperature, count, share=share)
        for ids in batch[1:]:
            item, count = ids.unique(return_counts=True)
            nodes = item + self.num_users
            mapped = self.map(self.states[nodes])
            total = total + info_nce(
                F.embedding(nodes, encoded.hidden),
                mapped,
                mapped,
                self.temperature,
                count,
                count,
                share=share,
            )
        return total


class Reconstruction(nn.Module):
    """Tell masked nodes' profiles from their mapped embeddings (RLMRec-Gen): info_nce(g(h_v), s_v;
    the masked nodes).
    """

    states: torch.Tensor

    def __init__(self, states_NW: torch.Tensor, embedding_dim: int, temperature: float, seed: int):
        super().__init__()
        self.temperature = temperature
        self.register_buffer("states", states_NW, persistent=False)
        self.map = two_layers(embedding_dim, states_NW.shape[1], seed)

    def forward(self, encoded: Encoded, batch: Batch, share: Share = everything) -> torch.Tensor:
        assert encoded.masked is not None  # it is a term for `MaskedEncoder`
        states = self.states[encoded.masked]
        return info_nce(
            self.map(F.embedding(encoded.masked, encoded.hidden)),
            states,
            states,
            self.temperature,
            share=share,
        )
