"""LightGCN's propagation: a symmetric linear operator, applied forward and backward alike."""

# N nodes = users then items, D embedding width
from __future__ import annotations

import warnings

import torch

from glta.data.interactions import Interactions


def normalized_adjacency(graph: Interactions, device: str | torch.device = "cpu") -> torch.Tensor:
    """Build D^-1/2 A D^-1/2 as a sparse CSR tensor, A = [[0, R], [R^T, 0]] (He et al. 2020, eq. 8).

    Returns (N, N) float32 with N = num_users + num_items; nodes without an edge have empty rows.
    int32 indices: MKL multiplies them 1.2 times as fast as int64 (2N + 1 and 2E must stay below 2^31).
    """
    from torch_geometric.nn.conv.gcn_conv import gcn_norm
    from torch_geometric.utils import to_torch_csr_tensor

    num_nodes = graph.num_users + graph.num_items
    user = torch.from_numpy(graph.user)
    item = torch.from_numpy(graph.item) + graph.num_users
    edge_index = torch.stack([torch.cat([user, item]), torch.cat([item, user])])
    edge_index, weight = gcn_norm(edge_index, num_nodes=num_nodes, add_self_loops=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")
        csr = to_torch_csr_tensor(edge_index, weight, size=(num_nodes, num_nodes))
        small = max(num_nodes + 1, edge_index.shape[1]) < 2**31
        dtype = torch.int32 if small else torch.int64
        return torch.sparse_csr_tensor(csr.crow_indices().to(dtype), csr.col_indices().to(dtype), csr.values(), csr.shape).to(
            device
        )


def mean_of_layers(adjacency: torch.Tensor, embedding_ND: torch.Tensor, num_layers: int) -> torch.Tensor:
    """Compute 1/(L+1) sum_l A^l E in Horner form, E + A(E + A(E + ...)): L products, two buffers."""
    out = embedding_ND
    for _ in range(num_layers):
        out = torch.addmm(embedding_ND, adjacency, out)
    return out / (num_layers + 1)


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
        return adjacency @ embedding_ND

    @staticmethod
    def backward(ctx, grad_ND):
        return None, ctx.adjacency @ grad_ND.contiguous()


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
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse")
            values = full.values() * kept.to(full.device)
            return torch.sparse_csr_tensor(full.crow_indices(), full.col_indices(), values, full.shape)
