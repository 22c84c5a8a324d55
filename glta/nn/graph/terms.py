"""Loss terms that graph methods add to the ranking loss: contrasts and a reconstruction.

A process computes a term for its share of the anchors, with the candidates of the whole batch. So
the terms of all processes add up to that of the batch, for any number of processes.
"""

# U users, I items, N = U + I nodes, D embedding width, W language width
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from glta.nn.graph.encoders import Encoded
from glta.nn.graph.losses import Batch, Share, everything, info_nce


def two_layers(width_in: int, width_out: int, seed: int) -> nn.Sequential:
    """Make the map between graph and language of RLMRec: linear, LeakyReLU, linear.

    Weights start from Xavier's uniform distribution, biases from 0. seed: of the weights.
    """
    middle = (width_in + width_out) // 2
    first = nn.Linear(width_in, middle)
    second = nn.Linear(middle, width_out)
    generator = torch.Generator().manual_seed(seed + 2)
    with torch.no_grad():
        for linear in (first, second):
            nn.init.xavier_uniform_(linear.weight, generator=generator)
            linear.bias.zero_()
    return nn.Sequential(first, nn.LeakyReLU(), second)


class LocalGlobal(nn.Module):
    """Contrast the local and the global embeddings of each layer (HCCF).

    The term is the sum over layers, and over the batch's distinct users and distinct positives, of
    info_nce(local, global; candidates: global embeddings of the same nodes), as in HCCF's torch
    code. The local embeddings have no gradient.
    """

    def __init__(self, num_users: int, temperature: float):
        super().__init__()
        self.num_users = num_users
        self.temperature = temperature

    def forward(self, encoded: Encoded, batch: Batch, share: Share = everything) -> torch.Tensor:
        sides = (batch[0].unique(), batch[1].unique() + self.num_users)
        total = encoded.hidden.new_zeros(())
        for local, wide in encoded.views:
            for nodes in sides:
                anchors = F.embedding(nodes, local.detach())
                positives = F.embedding(nodes, wide)
                total = total + info_nce(
                    anchors, positives, positives, self.temperature, share=share
                )
        return total


class TextContrast(nn.Module):
    """Contrast node embeddings with mapped text states (LightGCN+ and HCCF+).

    The term is info_nce(h_i, P s_i; candidates: P s_j) over the distinct positives of the batch,
    where h is a node embedding, s a text state and P a map of two layers from W to D. If the users'
    text states are given, their term is added.
    item_IW: text states of items. user_UW: text states of users, or None.
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
        self.num_users = num_users
        self.temperature = temperature
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
    """Contrast node embeddings with mapped profiles (RLMRec-Con).

    The term is info_nce(h_u, f(s_u); candidates: all users), plus the same for positives with the
    batch's positives as candidates, and for negatives with its negatives. h is a node embedding,
    s the text state of a profile, and f a map of two layers from W to D. Means are over the batch's
    triples: a node that occurs twice counts twice.
    states_NW: text states of users, then of items.
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
        self.num_users = num_users
        self.temperature = temperature
        self.register_buffer("states", states_NW, persistent=False)
        self.map = two_layers(states_NW.shape[1], embedding_dim, seed)

    def forward(self, encoded: Encoded, batch: Batch, share: Share = everything) -> torch.Tensor:
        everyone = self.map(self.states[: self.num_users])
        user, count = batch[0].unique(return_counts=True)
        anchors = F.embedding(user, encoded.hidden)
        own = F.embedding(user, everyone)
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
    """Predict the profiles of masked nodes from their embeddings (RLMRec-Gen).

    The term is info_nce(g(h_v), s_v; candidates: s of all masked nodes), where h is a node
    embedding, s the text state of a profile, and g a map of two layers from D to W.
    states_NW: text states of users, then of items.
    """

    states: torch.Tensor

    def __init__(self, states_NW: torch.Tensor, embedding_dim: int, temperature: float, seed: int):
        super().__init__()
        self.temperature = temperature
        self.register_buffer("states", states_NW, persistent=False)
        self.map = two_layers(embedding_dim, states_NW.shape[1], seed)

    def forward(self, encoded: Encoded, batch: Batch, share: Share = everything) -> torch.Tensor:
        assert encoded.masked is not None, "this term needs a MaskedEncoder"
        states = self.states[encoded.masked]
        return info_nce(
            self.map(F.embedding(encoded.masked, encoded.hidden)),
            states,
            states,
            self.temperature,
            share=share,
        )
