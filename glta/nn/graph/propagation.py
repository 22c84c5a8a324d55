"""LightGCN's propagation: a symmetric linear operator, applied forward and backward alike."""

# U users, I items, N = U + I nodes, E edges, D embedding width
from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from glta.data.interactions import Interactions


class Adjacency(NamedTuple):
    """Hold a symmetric bipartite matrix (N, N) = [[0, R], [R^T, 0]] by its two blocks, each sparse
    CSR.

    to_users: R (U, I), entries in the order of the graph's edges. to_items: R^T (I, U), entries by
    item, then user.
    """

    to_users: torch.Tensor
    to_items: torch.Tensor

    def __matmul__(self, x_ND: torch.Tensor) -> torch.Tensor:
        """Multiply by a dense (N, D), without a gradient."""
        user_UD, item_ID = self.sides(x_ND)
        return torch.cat([product(self.to_users, item_ID), product(self.to_items, user_UD)])

    def sides(self, x_ND: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Split the rows of nodes (N, D) into users (U, D) and items (I, D)."""
        return x_ND.split(self.to_users.shape)


def normalized_adjacency(graph: Interactions, device: str | torch.device = "cpu") -> Adjacency:
    """Build D^-1/2 A D^-1/2 in float32 (He et al. 2020, eq. 8); nodes without an edge have empty
    rows.

    Indices are int32 where they fit, for half the memory.
    """
    by_item = graph.item.argsort(kind="stable")
    ids = np.int32 if len(graph) < 2**31 else np.int64
    user_scale, item_scale = (
        1 / np.sqrt(np.maximum(degree, 1)).astype(np.float32)
        for degree in (graph.user_degree, graph.item_degree)
    )
    value = user_scale[graph.user] * item_scale[graph.item]
    item_start = np.concatenate([[0], graph.item_degree.cumsum()])
    blocks = (
        (graph.indptr.astype(ids), graph.item.astype(ids), value, graph.num_items),
        (item_start.astype(ids), graph.user[by_item].astype(ids), value[by_item], graph.num_users),
    )
    return Adjacency(
        *(
            csr(*(torch.from_numpy(part).to(device) for part in block[:3]), block[3])
            for block in blocks
        )
    )


def csr(
    start: torch.Tensor, neighbour: torch.Tensor, value: torch.Tensor, width: int
) -> torch.Tensor:
    """Make a sparse CSR matrix of `width` columns; nothing is checked.

    A column may occur in a row more than once.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")
        return torch.sparse_csr_tensor(
            start, neighbour, value, (len(start) - 1, width), check_invariants=False
        )


def product(block: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Multiply a sparse CSR matrix by a dense one with D columns, without a gradient.

    On a CPU as a sum of embedding bags: several times as fast as MKL's product, and every row is
    summed in one fixed order whatever the number of threads (docs/performance.md).
    """
    if x.device.type != "cpu":
        return block @ x
    start, neighbour, value = block.crow_indices(), block.col_indices(), block.values()
    return F.embedding_bag(
        neighbour, x, start, mode="sum", per_sample_weights=value, include_last_offset=True
    )


def mean_of_layers(
    adjacency: Adjacency, embedding_ND: torch.Tensor, num_layers: int
) -> torch.Tensor:
    """Compute 1/(L+1) sum_l A^l E in Horner form, E + A(E + A(E + ...)): L products, and never more
    than two layers held.
    """
    user, item = own_user, own_item = adjacency.sides(embedding_ND)
    for _ in range(num_layers):
        user, item = (
            product(adjacency.to_users, item).add_(own_user),
            product(adjacency.to_items, user).add_(own_item),
        )
    return torch.cat([user, item]).div_(num_layers + 1)


class _Propagate(torch.autograd.Function):
    """Autograd would transpose the sparse matrix in every step and keep every layer; A is its own
    transpose.
    """

    @staticmethod
    def forward(ctx, adjacency, embedding_ND, num_layers):
        ctx.adjacency, ctx.num_layers = adjacency, num_layers
        return mean_of_layers(adjacency, embedding_ND, num_layers)

    @staticmethod
    def backward(ctx, grad_ND):
        return None, mean_of_layers(ctx.adjacency, grad_ND.contiguous(), ctx.num_layers), None


def propagate(adjacency: Adjacency, embedding_ND: torch.Tensor, num_layers: int) -> torch.Tensor:
    """Average the embeddings of layers 0..num_layers (He et al. 2020, eq. 4 with alpha = 1/(L+1)).

    adjacency: from `normalized_adjacency`; embedding_ND: (N, D), layer 0.
    Differentiable in embedding_ND; the gradient is the same operator applied to the incoming
    gradient.
    """
    return _Propagate.apply(adjacency, embedding_ND, num_layers)


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, adjacency, embedding_ND):
        ctx.adjacency = adjacency
        return adjacency @ embedding_ND

    @staticmethod
    def backward(ctx, grad_ND):
        return None, ctx.adjacency @ grad_ND.contiguous()


def multiply(adjacency: Adjacency, embedding_ND: torch.Tensor) -> torch.Tensor:
    """Multiply by a symmetric sparse matrix, forward and backward alike; for layers that are more
    than a propagation.
    """
    return _Multiply.apply(adjacency, embedding_ND)


class EdgeDropout:
    """Draw random subgraphs of a normalised adjacency: every edge stays with probability keep, in
    both directions or none.

    Published code drops the two directions apart; together, the operator stays its own transpose.
    rescale: divide what is left by keep. adjacency: what `normalized_adjacency` made of the graph.
    """

    def __init__(
        self, graph: Interactions, adjacency: Adjacency, keep: float, rescale: bool = False
    ):
        self.adjacency, self.keep, self.scale = adjacency, keep, 1 / keep if rescale else 1.0
        if keep < 1:
            self.by_item = torch.from_numpy(graph.item).argsort(stable=True)

    def __call__(self, generator: torch.Generator) -> Adjacency:
        """Draw one subgraph with normalisation unchanged; with keep = 1 the adjacency itself.

        generator: on CPU.
        """
        if self.keep == 1:
            return self.adjacency
        kept_E = (torch.rand(len(self.by_item), generator=generator) < self.keep) * self.scale
        return Adjacency(
            *(
                csr(
                    block.crow_indices(),
                    block.col_indices(),
                    block.values() * kept.to(block.device),
                    block.shape[1],
                )
                for block, kept in zip(self.adjacency, (kept_E, kept_E[self.by_item]), strict=True)
            )
        )
