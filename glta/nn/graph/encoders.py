"""From free node embeddings to the embeddings that score: LightGCN, its masked form, and HCCF's
hypergraphs.
"""

# U users, I items, N = U + I nodes, D embedding width, K hyperedges
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from glta.data.interactions import Interactions
from glta.nn.graph.propagation import EdgeDropout, multiply, normalized_adjacency, propagate
from glta.nn.graph.settings import EncoderSettings, GraphTraining


class Encoded(NamedTuple):
    """hidden (N, D): dot products of its rows are the scores. views: local and global embeddings of
    each layer, (N, D).
    masked: ids of nodes whose own embedding was hidden."""

    hidden: torch.Tensor
    views: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()
    masked: torch.Tensor | None = None


class Encoder(nn.Module):
    """Make the embeddings that score out of layer 0. Called with a generator (on CPU), it encodes
    for training, with all that is drawn at random: returns `Encoded`.

    embedding: layer 0, (N, D), users first.
    """

    embedding: nn.Parameter
    num_users: int

    def serve(self) -> torch.Tensor:
        """Encode for ranking, nothing dropped. Returns (N, D)."""
        raise NotImplementedError


def initial_embedding(num_nodes: int, params: GraphTraining, seed: int) -> torch.Tensor:
    """Draw layer 0 from N(0, init_std^2), (N, D) float32, as LightGCN's reference implementation
    does.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_nodes, params.embedding_dim, generator=generator) * params.init_std


class LightGCNEncoder(Encoder):
    """Average the layers of a linear propagation (He et al., SIGIR 2020).

    graph: the edges of training. serve: those of evaluation, default graph. keep: share of edges
    that each training step keeps, weights unchanged (as in RLMRec and SGL).
    """

    def __init__(
        self,
        graph: Interactions,
        params: GraphTraining,
        seed: int,
        keep: float = 1.0,
        serve: Interactions | None = None,
        device: str = "cpu",
    ):
        super().__init__()
        self.num_users, self.num_layers = graph.num_users, params.num_layers
        self.embedding = nn.Parameter(
            initial_embedding(graph.num_users + graph.num_items, params, seed).to(device)
        )
        adjacency = normalized_adjacency(graph, device)
        self.edges = EdgeDropout(graph, adjacency, keep)
        self.serving = (
            adjacency if serve is None or serve is graph else normalized_adjacency(serve, device)
        )

    def forward(self, generator: torch.Generator) -> Encoded:
        """Encode for training, with all that is drawn at random. generator: on CPU."""
        return Encoded(propagate(self.edges(generator), self.embedding, self.num_layers))

    def serve(self) -> torch.Tensor:
        """Encode for ranking, nothing dropped. Returns (N, D)."""
        return propagate(self.serving, self.embedding, self.num_layers)


def make_encoder(
    graph: Interactions,
    params: EncoderSettings,
    seed: int,
    *,
    serve: Interactions | None = None,
    device: str = "cpu",
) -> Encoder:
    """Make the encoder that params.encoder names: LightGCN, or a stack of torch-geometric's
    convolutions with the same interface. graph, serve: as in `LightGCNEncoder`.
    """
    if params.encoder == "lightgcn":
        return LightGCNEncoder(graph, params, seed, serve=serve, device=device)
    # torch-geometric takes seconds to import, and LightGCN does without it
    from glta.nn.graph.convolutions import ConvolutionEncoder

    return ConvolutionEncoder(graph, params, seed, serve=serve, device=device)


class MaskedEncoder(LightGCNEncoder):
    """LightGCN that hides the layer-0 embedding of a share of all nodes behind one learnt vector
    (RLMRec-Gen).
    """

    def __init__(
        self,
        graph: Interactions,
        params: GraphTraining,
        seed: int,
        keep: float,
        mask_share: float,
        device: str = "cpu",
    ):
        super().__init__(graph, params, seed, keep, device=device)
        self.mask = nn.Parameter(torch.zeros(params.embedding_dim, device=device))
        self.num_masked = max(1, round(mask_share * len(self.embedding)))

    def forward(self, generator: torch.Generator) -> Encoded:
        masked = torch.randperm(len(self.embedding), generator=generator)[: self.num_masked].to(
            self.mask.device
        )
        hidden_from = torch.zeros(len(self.embedding), 1, dtype=torch.bool, device=self.mask.device)
        hidden_from[masked] = True
        layer0 = torch.where(hidden_from, self.mask, self.embedding)
        return Encoded(propagate(self.edges(generator), layer0, self.num_layers), masked=masked)


class HypergraphEncoder(Encoder):
    """Sum layers E_l = A E_{l-1} + H act(H^T E_{l-1}), with learnt hyperedges H = E_0 W for users
    and for items (HCCF).

    keep: share of edges, and of entries of H, that each layer of a training step keeps; the kept
    are divided by it.
    """

    def __init__(
        self,
        graph: Interactions,
        params: GraphTraining,
        seed: int,
        keep: float,
        num_hyperedges: int,
        activation: bool = False,
        device: str = "cpu",
    ):
        super().__init__()
        self.num_users, self.num_layers, self.keep = graph.num_users, params.num_layers, keep
        self.sides = (graph.num_users, graph.num_items)
        self.embedding = nn.Parameter(initial_embedding(sum(self.sides), params, seed).to(device))
        self.adjacency = normalized_adjacency(graph, device)
        self.edges = EdgeDropout(graph, self.adjacency, keep, rescale=True)
        self.act = nn.LeakyReLU(0.5) if activation else nn.Identity()
        generator = torch.Generator().manual_seed(seed + 1)
        shape = (params.embedding_dim, num_hyperedges)
        for name in ("user_hyperedges", "item_hyperedges"):
            start = nn.init.xavier_uniform_(torch.empty(shape), generator=generator)
            setattr(self, name, nn.Parameter(start.to(device)))

    def forward(self, generator: torch.Generator | None) -> Encoded:
        """Encode for training; without a generator nothing is dropped."""
        own = self.embedding.split(self.sides)
        hyper = [own[0] @ self.user_hyperedges, own[1] @ self.item_hyperedges]
        layer: torch.Tensor = self.embedding
        total: torch.Tensor = self.embedding
        views = []
        for _ in range(self.num_layers):
            local = multiply(self.edges(generator) if generator else self.adjacency, layer)
            rows = [self._dropped(h, generator) for h in hyper] if generator else hyper
            wide = torch.cat(
                [
                    self.act(h @ self.act(h.T @ e))
                    for h, e in zip(rows, layer.split(self.sides), strict=True)
                ]
            )
            views.append((local, wide))
            layer = local + wide
            total = total + layer
        return Encoded(total, tuple(views))

    def serve(self) -> torch.Tensor:
        """Encode for ranking, nothing dropped. Returns (N, D)."""
        return self(None).hidden

    def _dropped(self, hyper: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Keep entries with probability `keep`, to a 65,536th: 16 random bits take a third of the
        time of a float.
        """
        if self.keep == 1:
            return hyper
        bits = torch.empty(-(-hyper.numel() // 4), dtype=torch.int64).random_(
            -(2**63), None, generator=generator
        )
        least = min(round((1 - self.keep) * 2**16), 2**16 - 1) - 2**15
        kept = bits.view(torch.int16)[: hyper.numel()].view(hyper.shape) >= least
        return hyper * kept.to(hyper).div_(self.keep)
