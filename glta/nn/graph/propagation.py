"""LightGCN's propagation, a symmetric linear operator. Its gradient is the same operator."""

# U users, I items, N = U + I nodes, E edges, D embedding width
from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from glta.data.interactions import Interactions


class Adjacency(NamedTuple):
    """Hold the two blocks of a symmetric bipartite matrix (N, N) = [[0, R], [R^T, 0]].

    to_users: R (U, I), sparse CSR, entries by user, then item, as the edges of the graph.
    to_items: R^T (I, U), sparse CSR, entries by item, then user.
    """

    to_users: torch.Tensor
    to_items: torch.Tensor

    def __matmul__(self, x_ND: torch.Tensor) -> torch.Tensor:
        """Multiply by a dense matrix (N, D), without a gradient."""
        user_UD, item_ID = self.sides(x_ND)
        return torch.cat([product(self.to_users, item_ID), product(self.to_items, user_UD)])

    def sides(self, x_ND: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Split the rows of nodes (N, D) into users (U, D) and items (I, D)."""
        return x_ND.split(self.to_users.shape)


def normalized_adjacency(graph: Interactions, device: str | torch.device = "cpu") -> Adjacency:
    """Build D^-1/2 A D^-1/2 in float32 (He et al. 2020, eq. 8).

    A is the graph's adjacency matrix, and D the diagonal matrix of node degrees. Nodes without an
    edge have empty rows. Indices are int32 where they fit, which halves the memory.
    """
    by_item = graph.item.argsort(kind="stable")
    ids = np.int32 if len(graph) < 2**31 else np.int64
    user_scale, item_scale = (
        1 / np.sqrt(np.maximum(degree, 1)).astype(np.float32)
        for degree in (graph.user_degree, graph.item_degree)
    )
    value = user_scale[graph.user] * item_scale[graph.item]
    item_start = np.concatenate([[0], graph.item_degree.cumsum()])

    def block(
        start: np.ndarray, neighbour: np.ndarray, value: np.ndarray, width: int
    ) -> torch.Tensor:
        return csr(
            torch.from_numpy(start.astype(ids)).to(device),
            torch.from_numpy(neighbour.astype(ids)).to(device),
            torch.from_numpy(value).to(device),
            width,
        )

    return Adjacency(
        to_users=block(graph.indptr, graph.item, value, graph.num_items),
        to_items=block(item_start, graph.user[by_item], value[by_item], graph.num_users),
    )


def csr(
    start: torch.Tensor, neighbour: torch.Tensor, value: torch.Tensor, width: int
) -> torch.Tensor:
    """Make a sparse CSR matrix with `width` columns. Nothing is checked.

    start: (rows + 1,), where each row begins. neighbour: columns of the entries. value: the
    entries. A row may have several entries in one column.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")
        return torch.sparse_csr_tensor(
            start, neighbour, value, (len(start) - 1, width), check_invariants=False
        )


def product(block: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Multiply a sparse CSR matrix by a dense matrix with D columns, without a gradient.

    On a CPU, torch's embedding_bag computes it. That is several times as fast as the product of
    MKL, and sums every row in a fixed order, so that the result does not depend on the number of
    threads (docs/performance.md).
    """
    if x.device.type != "cpu":
        return block @ x
    return F.embedding_bag(
        block.col_indices(),
        x,
        block.crow_indices(),
        mode="sum",
        per_sample_weights=block.values(),
        include_last_offset=True,
    )


def mean_of_layers(
    adjacency: Adjacency, embedding_ND: torch.Tensor, num_layers: int
) -> torch.Tensor:
    """Compute the mean of layers 0..L, 1/(L+1) sum_l A^l E: (N, D), without a gradient.

    It is computed in Horner's form, E + A (E + A (E + ...)). That takes L products, and at most two
    layers are in memory.
    """
    user, item = own_user, own_item = adjacency.sides(embedding_ND)
    for _ in range(num_layers):
        user, item = (
            product(adjacency.to_users, item).add_(own_user),
            product(adjacency.to_items, user).add_(own_item),
        )
    return torch.cat([user, item]).div_(num_layers + 1)


class _Propagate(torch.autograd.Function):
    """Compute `propagate`. A is symmetric, so that the gradient is the same operation.

    Autograd would transpose the sparse matrix in every step, and keep every layer in memory.
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

    adjacency: of `normalized_adjacency`. embedding_ND: layer 0, (N, D). The result (N, D) has a
    gradient in embedding_ND.
    """
    return _Propagate.apply(adjacency, embedding_ND, num_layers)


class _Multiply(torch.autograd.Function):
    """Compute `multiply`. The matrix is symmetric, so that the gradient is the same product."""

    @staticmethod
    def forward(ctx, adjacency, embedding_ND):
        ctx.adjacency = adjacency
        return adjacency @ embedding_ND

    @staticmethod
    def backward(ctx, grad_ND):
        return None, ctx.adjacency @ grad_ND.contiguous()


def multiply(adjacency: Adjacency, embedding_ND: torch.Tensor) -> torch.Tensor:
    """Multiply by a symmetric sparse matrix: (N, D), with a gradient in embedding_ND.

    It is for encoders whose layers do more than propagate.
    """
    return _Multiply.apply(adjacency, embedding_ND)


class EdgeDropout:
    """Draw random subgraphs of a normalised adjacency.

    Every edge stays with probability keep, in both directions at once. So the matrix stays
    symmetric; published code draws for each direction separately.
    adjacency: of `normalized_adjacency` for the same graph. rescale: whether to divide the kept
    entries by keep.
    """

    def __init__(
        self, graph: Interactions, adjacency: Adjacency, keep: float, rescale: bool = False
    ):
        self.adjacency = adjacency
        self.keep = keep
        self.scale = 1 / keep if rescale else 1.0
        if keep < 1:
            self.by_item = torch.from_numpy(graph.item).argsort(stable=True)

    def __call__(self, generator: torch.Generator) -> Adjacency:
        """Draw one subgraph. Node degrees stay those of the whole graph. generator: on the CPU.

        With keep = 1 it is the adjacency itself.
        """
        if self.keep == 1:
            return self.adjacency
        kept_E = (torch.rand(len(self.by_item), generator=generator) < self.keep) * self.scale
        return Adjacency(
            to_users=_scaled(self.adjacency.to_users, kept_E),
            to_items=_scaled(self.adjacency.to_items, kept_E[self.by_item]),
        )


def _scaled(block: torch.Tensor, factor_E: torch.Tensor) -> torch.Tensor:
    """Multiply the entries of a sparse CSR matrix by factors."""
    values = block.values() * factor_E.to(block.device)
    return csr(block.crow_indices(), block.col_indices(), values, block.shape[1])
