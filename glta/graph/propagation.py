"""LightGCN's propagation: a symmetric linear operator, applied forward and backward alike."""

# N nodes = users then items, D embedding width
from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F

from glta.data.interactions import Interactions


def normalized_adjacency(graph: Interactions, device: str | torch.device = "cpu") -> torch.Tensor:
    """Build D^-1/2 A D^-1/2 as a sparse CSR tensor, A = [[0, R], [R^T, 0]] (He et al. 2020, eq. 8).

    Returns (N, N) float32 with N = num_users + num_items; nodes without an edge have empty rows. Rows of users hold the
    edges in their order, rows of items by item, then user. Indices are int32 where they fit: half the memory.
    """
    degree = np.concatenate([graph.user_degree, graph.item_degree])
    ids = np.int32 if max(degree.size, 2 * len(graph)) < 2**31 else np.int64
    by_item = graph.item.argsort(kind="stable")
    start = np.concatenate([[0], degree.cumsum()]).astype(ids)
    neighbour = np.concatenate([graph.item + graph.num_users, graph.user[by_item]]).astype(ids)
    scale = 1 / np.sqrt(np.maximum(degree, 1)).astype(np.float32)
    value = np.repeat(scale, degree) * scale[neighbour]
    return _csr(*(torch.from_numpy(part).to(device) for part in (start, neighbour, value)))


def _csr(start: torch.Tensor, neighbour: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    size = (len(start) - 1, len(start) - 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")
        return torch.sparse_csr_tensor(start, neighbour, value, size, check_invariants=False)


def product(adjacency: torch.Tensor, x_ND: torch.Tensor) -> torch.Tensor:
    """Multiply a sparse CSR matrix (N, N) by a dense one (N, D), without a gradient.

    On a CPU as a sum of embedding bags: 2 to 4 times as fast as MKL's sparse product, and each row is summed in one fixed
    order whatever the number of threads (docs/performance.md).
    """
    if x_ND.device.type != "cpu":
        return adjacency @ x_ND
    start, neighbour, value = adjacency.crow_indices(), adjacency.col_indices(), adjacency.values()
    return F.embedding_bag(neighbour, x_ND, start, mode="sum", per_sample_weights=value, include_last_offset=True)


def mean_of_layers(adjacency: torch.Tensor, embedding_ND: torch.Tensor, num_layers: int) -> torch.Tensor:
    """Compute 1/(L+1) sum_l A^l E in Horner form, E + A(E + A(E + ...)): L products, two buffers."""
    if num_layers == 0:
        return embedding_ND.clone()
    out = embedding_ND
    for _ in range(num_layers):
        out = product(adjacency, out).add_(embedding_ND)
    return out.div_(num_layers + 1)


class _Propagate(torch.autograd.Function):
    """Autograd would transpose the sparse matrix in every step and keep every layer; A is its own transpose."""

    @staticmethod
    def forward(ctx, adjacency, embedding_ND, num_layers):
        ctx.adjacency, ctx.num_layers = adjacency, num_layers
        return mean_of_layers(adjacency, embedding_ND, num_layers)

    @staticmethod
    def backward(ctx, grad_ND):
        return None, mean_of_layers(ctx.adjacency, grad_ND.contiguous(), ctx.num_layers), None


def propagate(adjacency: torch.Tensor, embedding_ND: torch.Tensor, num_layers: int) -> torch.Tensor:
    """Average the embeddings of layers 0..num_layers (He et al. 2020, eq. 4 with alpha = 1/(L+1)).

    adjacency: (N, N) symmetric sparse CSR from `normalized_adjacency`; embedding_ND: (N, D), layer 0.
    Differentiable in embedding_ND; the gradient is the same operator applied to the incoming gradient.
    """
    return _Propagate.apply(adjacency, embedding_ND, num_layers)


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, adjacency, embedding_ND):
        ctx.adjacency = adjacency
        return product(adjacency, embedding_ND)

    @staticmethod
    def backward(ctx, grad_ND):
        return None, product(ctx.adjacency, grad_ND.contiguous())


def multiply(adjacency: torch.Tensor, embedding_ND: torch.Tensor) -> torch.Tensor:
    """Multiply by a symmetric sparse matrix, forward and backward alike; for layers that are more than a propagation."""
    return _Multiply.apply(adjacency, embedding_ND)


class EdgeDropout:
    """Draw random subgraphs of a normalised adjacency: every edge stays with probability keep, in both directions or none.

    Published code drops the two directions apart; together, the operator stays its own transpose. rescale: divide what
    is left by keep. adjacency: what `normalized_adjacency` made of the graph.
    """

    def __init__(self, graph: Interactions, adjacency: torch.Tensor, keep: float, rescale: bool = False):
        self.adjacency, self.keep, self.scale = adjacency, keep, 1 / keep if rescale else 1.0
        if keep < 1:
            # the edge behind each entry: rows of users hold the edges in order, rows of items by item, then user
            by_item = torch.from_numpy(graph.item).argsort(stable=True)
            self.edge = torch.cat([torch.arange(len(graph)), by_item])

    def __call__(self, generator: torch.Generator) -> torch.Tensor:
        """Draw one subgraph (N, N) with normalisation unchanged; with keep = 1 the adjacency itself. generator: on CPU."""
        if self.keep == 1:
            return self.adjacency
        full = self.adjacency
        kept = (torch.rand(len(self.edge) // 2, generator=generator) < self.keep)[self.edge] * self.scale
        return _csr(full.crow_indices(), full.col_indices(), full.values() * kept.to(full.device))
