"""The models that AlphaRec and the text map train: vectors of nodes made from text states alone."""

# U users, I items, N = U + I nodes, W language width, D width of the vectors, B batch
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from glta.data.histories import history_matrix, mean_of_items
from glta.data.interactions import Interactions
from glta.nn.graph.encoders import Encoded, Encoder
from glta.nn.graph.losses import Batch, Share, everything
from glta.nn.graph.propagation import normalized_adjacency, propagate
from glta.nn.graph.ranker import NodeRanker
from glta.nn.text.candidates import Candidates, candidate_loss
from glta.nn.text.settings import TextTraining
from glta.nn.text.state_map import StateMap


def node_states(train: Interactions, item_IW: np.ndarray) -> np.ndarray:
    """Stack the text states of users and of items, users first: (N, W) float32.

    A user's state is the mean of those of their training items, and 0 without any.
    """
    return np.concatenate([mean_of_items(history_matrix(train), item_IW), item_IW])


class TextEncoder(Encoder):
    """Make the vectors of nodes from text states, by one map.

    states: what is mapped, (rows, W).
    """

    def __init__(
        self,
        num_users: int,
        states: np.ndarray,
        params: TextTraining,
        *,
        seed: int,
        device: str = "cpu",
    ):
        super().__init__()
        self.num_users = num_users
        self.map = StateMap.sized(params, states.shape[1], seed).to(device)
        self.states = torch.from_numpy(states).to(device)


class PropagatedText(TextEncoder):
    """Map the text states of users and items, and propagate them as LightGCN does.

    There are no embeddings of ids. A user's state is the mean of those of their training items.
    item_IW: text states of the items. The vectors have length 1, so that dot products are cosines.
    """

    def __init__(
        self,
        train: Interactions,
        item_IW: np.ndarray,
        params: TextTraining,
        num_layers: int,
        seed: int,
        device: str = "cpu",
    ):
        states = node_states(train, item_IW)
        super().__init__(train.num_users, states, params, seed=seed, device=device)
        self.num_layers = num_layers
        self.adjacency = normalized_adjacency(train, device)

    def forward(self, generator: torch.Generator | None = None) -> Encoded:
        """Encode. Nothing is random."""
        layer0 = self.map(self.states)
        return Encoded(F.normalize(propagate(self.adjacency, layer0, self.num_layers)))

    def serve(self) -> torch.Tensor:
        return self().hidden


class MappedItems(TextEncoder):
    """Map the text states of items. A user's vector is the mean of those of their training items.

    item_IW: text states of the items. The vectors have length 1, so that dot products are cosines.
    """

    def __init__(
        self,
        train: Interactions,
        item_IW: np.ndarray,
        params: TextTraining,
        seed: int,
        device: str = "cpu",
    ):
        super().__init__(train.num_users, item_IW, params, seed=seed, device=device)
        self.train_pairs = train

    def items(self) -> torch.Tensor:
        """Map the items: (I, D), of any length."""
        return self.map(self.states)

    def sums(self, item_ID: torch.Tensor, users: np.ndarray) -> torch.Tensor:
        """Add up the vectors of the training items of users (B,): (B, D)."""
        counts = self.train_pairs.user_degree[users]
        _, item = self.train_pairs.rows(users)
        ids, start = (
            torch.from_numpy(array).to(item_ID.device)
            for array in (item, np.cumsum(counts) - counts)
        )
        return F.embedding_bag(ids, item_ID, start, mode="sum")

    def serve(self) -> torch.Tensor:
        item_ID = self.items()
        user_UD = self.sums(item_ID, np.arange(self.num_users))
        # a sum and a mean have the same direction
        return F.normalize(torch.cat([user_UD, item_ID]))


class TextRanker(NodeRanker):
    """Train a map of text states by a softmax."""

    def __init__(self, encoder: TextEncoder, params: TextTraining, train: Interactions):
        super().__init__()
        self.encoder = encoder
        self.params: TextTraining = params
        self.train_pairs = train

    def penalty(self, share: float) -> torch.Tensor:
        """Return the share of weight_decay / 2 * sum of squares of all weights, ()."""
        squares = torch.stack([p.square().sum() for p in self.parameters()])
        return share * self.params.weight_decay / 2 * squares.sum()


class AlphaRanker(TextRanker):
    """Train `PropagatedText` (AlphaRec: Sheng et al., ICLR 2025).

    L = mean over pairs of -log(exp(cos(u, i) / t) / (exp(cos(u, i) / t) + sum_n exp(cos(u, n) /
    t))), where n are uniform random items that the user lacks, or all of those items.
    negatives: how many are drawn for a pair. One that the user has is left out. 0: all items.
    """

    encoder: PropagatedText

    def __init__(
        self,
        encoder: PropagatedText,
        params: TextTraining,
        train: Interactions,
        negatives: int,
    ):
        super().__init__(encoder, params, train)
        self.negatives = negatives

    def loss(
        self, batch: Batch, generator: torch.Generator, share: Share = everything
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        size = batch[0].numel()
        mine = share(size)
        user, positive = (ids[mine] for ids in batch[:2])
        sampled = None
        if self.negatives:
            shape = (size, self.negatives)
            drawn = torch.randint(self.train_pairs.num_items, shape, generator=generator)
            sampled = drawn[mine].to(user.device)
        user_UD, item_ID = self.encoder(generator).hidden.tensor_split([self.encoder.num_users])
        rank = candidate_loss(
            F.embedding(user, user_UD) / self.params.temperature,
            item_ID,
            Candidates(self.train_pairs, user, positive, sampled),
            torch.full((user.numel(),), 1 / size, device=user.device),
        )
        return rank + self.penalty(user.numel() / size), {"loss": rank}


class LeaveOneOutRanker(TextRanker):
    """Train `MappedItems`: predict each item of a user from the user's other items.

    For a pair (u, i) the user's vector is the mean of the mapped items of u without i. The loss is
    the cross-entropy of i among all items that u lacks. Users with one item are left out.
    """

    encoder: MappedItems

    def loss(
        self, batch: Batch, generator: torch.Generator, share: Share = everything
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        size = batch[0].numel()
        mine = share(size)
        user, positive = (ids[mine] for ids in batch[:2])
        several_B = torch.from_numpy(self.train_pairs.user_degree > 1).to(user.device)[batch[0]]
        weight_B = several_B[mine] / several_B.sum().clamp(min=1)
        item_ID = self.encoder.items()
        rank = candidate_loss(
            F.normalize(self.others(item_ID, user, positive)) / self.params.temperature,
            F.normalize(item_ID),
            Candidates(self.train_pairs, user, positive),
            weight_B,
        )
        return rank + self.penalty(user.numel() / size), {"loss": rank}

    def others(
        self, item_ID: torch.Tensor, user: torch.Tensor, positive: torch.Tensor
    ) -> torch.Tensor:
        """Add up the mapped items of each user without the positive: (B, D)."""
        distinct, place = user.unique(return_inverse=True)
        sums = self.encoder.sums(item_ID, distinct.cpu().numpy())
        return F.embedding(place, sums) - F.embedding(positive, item_ID)
