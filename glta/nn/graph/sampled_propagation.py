"""LightGCN on graphs too large to propagate over in every step: sampled neighbours, and a snapshot.

The estimator is that of Chen, Zhu and Song (Stochastic Training of Graph Convolutional Networks
with Variance Reduction, ICML 2018), for LightGCN's linear propagation P = 1/(L+1) sum_l A^l. All
layers of a snapshot S of layer 0 are known: H = P S. A training step computes, for the nodes of its
batch alone, H + Q (E - S). Q estimates P: each row of A is replaced by a few of its entries, drawn
anew in every step and each layer, and scaled so that the mean over the draws is A
(Hamilton et al., NeurIPS 2017, draw neighbours without the scale). The rows that score are thus
those of P E on average, with a variance that grows with the distance of E from S alone.
"""

# U users, I items, N = U + I nodes, D embedding width, R rows, M entries
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from glta.data.interactions import Interactions
from glta.nn.graph.encoders import Encoder, initial_embedding
from glta.nn.graph.losses import Batch, Share, batch_loss, everything
from glta.nn.graph.propagation import Adjacency, mean_of_layers, normalized_adjacency
from glta.nn.graph.ranker import NodeRanker, RankerTask
from glta.nn.graph.settings import EncoderSettings


class DrawnEntries(NamedTuple):
    """Hold entries of some rows of a sparse matrix.

    begin: (R + 1,), where the entries of each row begin. column, value: (M,).
    """

    begin: torch.Tensor
    column: torch.Tensor
    value: torch.Tensor


def draw_entries(
    block: torch.Tensor, rows: torch.Tensor, most: int, generator: torch.Generator
) -> DrawnEntries:
    """Draw up to `most` entries of each row, scaled so that the mean over the draws is the row.

    A row with n > most entries is cut into `most` equal parts, and one place of each part is drawn.
    The values are multiplied by n / most. Rows with fewer entries are taken as they are.
    block: sparse CSR. rows: (R,). generator: on the CPU.
    """
    start = block.crow_indices()
    first = start[rows].long()
    degree = start[rows + 1].long() - first
    count = degree.clamp(max=most)
    begin = F.pad(count.cumsum(0), (1, 0))
    row = torch.repeat_interleave(count)
    part = torch.arange(len(row), device=row.device) - begin[row]
    luck = torch.rand(len(row), generator=generator, dtype=torch.float64).to(row.device)
    width = degree.double() / count
    place = ((part + luck) * width[row]).long()
    # rounding may lead one place too far
    entry = first[row] + torch.minimum(place, degree[row] - 1)
    value = block.values()[entry] * width[row].to(block.dtype)
    return DrawnEntries(begin, block.col_indices()[entry].long(), value)


class Level(NamedTuple):
    """Hold the nodes of one layer of a sample, and how the next layer's rows add up to theirs.

    user, item: ids, ascending. to_users, to_items: the entries, with places in the next level's
    item and user as columns; None in the last level.
    """

    user: torch.Tensor
    item: torch.Tensor
    to_users: DrawnEntries | None = None
    to_items: DrawnEntries | None = None


def draw_levels(
    adjacency: Adjacency,
    user: torch.Tensor,
    item: torch.Tensor,
    num_layers: int,
    most: int,
    generator: torch.Generator,
) -> list[Level]:
    """Draw the neighbours of nodes, those of the neighbours, and so on: num_layers + 1 levels."""
    levels = []
    for _ in range(num_layers):
        to_users = draw_entries(adjacency.to_users, user, most, generator)
        to_items = draw_entries(adjacency.to_items, item, most, generator)
        next_item, item_place = to_users.column.unique(return_inverse=True)
        next_user, user_place = to_items.column.unique(return_inverse=True)
        levels.append(
            Level(
                user,
                item,
                to_users._replace(column=item_place),
                to_items._replace(column=user_place),
            )
        )
        user = next_user
        item = next_item
    return [*levels, Level(user, item)]


def _sums(entries: DrawnEntries, x_MD: torch.Tensor) -> torch.Tensor:
    """Add up the rows of x that the entries name, (R, D), with a gradient in x."""
    return F.embedding_bag(
        entries.column,
        x_MD,
        entries.begin,
        mode="sum",
        per_sample_weights=entries.value,
        include_last_offset=True,
    )


class SampledBatch(NamedTuple):
    """Hold the nodes of a batch, encoded.

    hidden, layer0: rows of the batch's users, then of its items. batch: the triples, with places in
    these rows in place of ids. num_users: of the batch.
    """

    hidden: torch.Tensor
    layer0: torch.Tensor
    batch: Batch
    num_users: int


class SampledEncoder(Encoder):
    """LightGCN whose training steps compute the nodes of their batch alone (see the module).

    graph, serve: as in `LightGCNEncoder`.
    """

    def __init__(
        self,
        graph: Interactions,
        params: EncoderSettings,
        seed: int,
        *,
        serve: Interactions | None = None,
        device: str = "cpu",
    ):
        super().__init__()
        self.num_users = graph.num_users
        self.num_layers = params.num_layers
        self.neighbours = params.sampled_neighbours
        start = initial_embedding(graph.num_users + graph.num_items, params, seed).to(device)
        self.embedding = nn.Parameter(start)
        self.adjacency = normalized_adjacency(graph, device)
        self.serving = (
            self.adjacency
            if serve is None or serve is graph
            else normalized_adjacency(serve, device)
        )
        self.take_snapshot(start)

    def take_snapshot(self, layer0_ND: torch.Tensor) -> None:
        """Propagate a layer 0 over the whole graph, and measure later ones from it."""
        self.snapshot = layer0_ND.detach().clone()
        self.propagated = mean_of_layers(self.adjacency, self.snapshot, self.num_layers)

    def of_batch(self, batch: Batch, generator: torch.Generator) -> SampledBatch:
        """Encode the nodes of a batch, with neighbours drawn. generator: on the CPU."""
        user = batch[0].unique()
        item = torch.cat(batch[1:]).unique()
        levels = draw_levels(
            self.adjacency, user, item, self.num_layers, self.neighbours, generator
        )
        nodes = [torch.cat([level.user, level.item + self.num_users]) for level in levels]
        every, place = torch.cat(nodes).unique(return_inverse=True)
        # the only use of the parameter, so that its gradient has each of these rows once
        rows = F.embedding(every, self.embedding, sparse=True)
        moved = rows - F.embedding(every, self.snapshot)
        places = place.split([len(one) for one in nodes])
        own_user, own_item = _sides(F.embedding(places[-1], moved), levels[-1])
        for level, at in zip(reversed(levels[:-1]), reversed(places[:-1]), strict=True):
            assert level.to_users is not None and level.to_items is not None
            base_user, base_item = _sides(F.embedding(at, moved), level)
            own_user, own_item = (
                base_user + _sums(level.to_users, own_item),
                base_item + _sums(level.to_items, own_user),
            )
        change = torch.cat([own_user, own_item]) / (self.num_layers + 1)
        return SampledBatch(
            F.embedding(nodes[0], self.propagated) + change,
            F.embedding(places[0], rows),
            (
                torch.searchsorted(user, batch[0]),
                torch.searchsorted(item, batch[1]),
                torch.searchsorted(item, batch[2]),
            ),
            len(user),
        )

    def serve(self) -> torch.Tensor:
        """Encode for ranking, over the whole graph: (N, D)."""
        return mean_of_layers(self.serving, self.embedding.detach(), self.num_layers)


def _sides(rows: torch.Tensor, level: Level) -> tuple[torch.Tensor, ...]:
    """Split the rows of a level's nodes into users and items."""
    return rows.split([len(level.user), len(level.item)])


class SampledRanker(NodeRanker):
    """Rank by dot products of the nodes of a batch. The loss is LightGCN's BPR."""

    encoder: SampledEncoder
    params: EncoderSettings

    def __init__(self, encoder: SampledEncoder, params: EncoderSettings):
        super().__init__()
        self.encoder = encoder
        self.params = params

    def loss(
        self, batch: Batch, generator: torch.Generator, share: Share = everything
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        found = self.encoder.of_batch(batch, generator)
        total, rank = batch_loss(
            found.hidden, found.layer0, found.batch, found.num_users, self.params, share
        )
        return total, {"loss": rank}


class SampledTask(RankerTask):
    """Train a ranker by sampled neighbours, with a new snapshot every `snapshot_every` steps.

    Adam moves the rows alone that a step has drawn (torch's SparseAdam).
    """

    model: SampledRanker

    def new_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SparseAdam(groups, lr=self.learning_rate)

    def before(self, step: int) -> None:
        if step % self.model.params.snapshot_every == 0:
            self.model.encoder.take_snapshot(self.model.encoder.embedding)

    def state(self) -> dict[str, torch.Tensor]:
        return {"snapshot": self.model.encoder.snapshot}

    def load_state(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.model.encoder.take_snapshot(tensors["snapshot"].to(self.model.encoder.snapshot.device))
