"""Encoders: compute the embeddings that score from trainable layer-0 embeddings of the nodes.

They are LightGCN, LightGCN with masked nodes, and HCCF's hypergraph encoder.
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
    """Hold what an encoder returns for training.

    hidden: (N, D), users first. The dot product of a user's and an item's row is the score.
    views: the local and the global embeddings of each layer, each (N, D); HCCF only.
    masked: ids of the nodes whose layer-0 embedding was hidden; RLMRec-Gen only.
    """

    hidden: torch.Tensor
    views: tuple[tuple[torch.Tensor, torch.Tensor], ...] = ()
    masked: torch.Tensor | None = None


class Encoder(nn.Module):
    """Compute the embeddings that score from layer 0.

    Calling it encodes for training, with random dropout: it takes a generator on the CPU, and
    returns `Encoded`. `serve` encodes for ranking.
    embedding: layer 0, (N, D), users first.
    """

    embedding: nn.Parameter
    num_users: int

    def serve(self) -> torch.Tensor:
        """Encode for ranking, without dropout: (N, D)."""
        raise NotImplementedError


def initial_embedding(num_nodes: int, params: GraphTraining, seed: int) -> torch.Tensor:
    """Draw layer 0 from a normal distribution with standard deviation init_std: (N, D) float32.

    LightGCN's reference implementation does the same.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_nodes, params.embedding_dim, generator=generator) * params.init_std


class LightGCNEncoder(Encoder):
    """Average the layers of a linear propagation (He et al., SIGIR 2020).

    graph: the edges for training. serve: the edges for evaluation; None: the same.
    keep: share of edges that each training step keeps. Their weights are not changed, as in RLMRec
        and SGL.
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
        self.num_users = graph.num_users
        self.num_layers = params.num_layers
        self.embedding = nn.Parameter(
            initial_embedding(graph.num_users + graph.num_items, params, seed).to(device)
        )
        adjacency = normalized_adjacency(graph, device)
        self.edges = EdgeDropout(graph, adjacency, keep)
        self.serving = (
            adjacency if serve is None or serve is graph else normalized_adjacency(serve, device)
        )

    def forward(self, generator: torch.Generator) -> Encoded:
        """Encode for training, with edges dropped. generator: on the CPU."""
        return Encoded(propagate(self.edges(generator), self.embedding, self.num_layers))

    def serve(self) -> torch.Tensor:
        """Encode for ranking, without dropout: (N, D)."""
        return propagate(self.serving, self.embedding, self.num_layers)


def make_encoder(
    graph: Interactions,
    params: EncoderSettings,
    seed: int,
    *,
    serve: Interactions | None = None,
    device: str = "cpu",
) -> Encoder:
    """Make the encoder that params.encoder names: LightGCN, or torch-geometric's convolutions.

    graph, serve: as in `LightGCNEncoder`.
    """
    if params.encoder == "lightgcn":
        return LightGCNEncoder(graph, params, seed, serve=serve, device=device)
    # torch-geometric takes seconds to import, and LightGCN does without it
    from glta.nn.graph.convolutions import ConvolutionEncoder

    return ConvolutionEncoder(graph, params, seed, serve=serve, device=device)


class MaskedEncoder(LightGCNEncoder):
    """LightGCN where one learnt vector replaces the layer-0 embedding of random nodes (RLMRec-Gen).

    mask_share: share of the nodes that are masked in each training step.
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
        super().__init__(graph, params, seed, keep=keep, device=device)
        self.mask = nn.Parameter(torch.zeros(params.embedding_dim, device=device))
        self.num_masked = max(1, round(mask_share * len(self.embedding)))

    def forward(self, generator: torch.Generator) -> Encoded:
        """Encode for training, with nodes masked and edges dropped. generator: on the CPU."""
        num_nodes = len(self.embedding)
        device = self.mask.device
        masked = torch.randperm(num_nodes, generator=generator)[: self.num_masked].to(device)
        is_masked = torch.zeros(num_nodes, 1, dtype=torch.bool, device=device)
        is_masked[masked] = True
        layer0 = torch.where(is_masked, self.mask, self.embedding)
        return Encoded(propagate(self.edges(generator), layer0, self.num_layers), masked=masked)


class HypergraphEncoder(Encoder):
    """Sum the layers of a propagation over edges and over learnt hyperedges (HCCF).

    Layer l is E_l = A E_{l-1} + act(H act(H^T E_{l-1})): the local part over the edges, and the
    global part over the hyperedges H = E_0 W. Users and items have their own W (D, num_hyperedges).
    Nothing passes from users to items by the global part, or back.
    keep: share of edges, and of entries of H, that each layer of a training step keeps. What is
        kept is divided by it.
    activation: whether act is LeakyReLU with slope 0.5, or the identity.
    mult: None, or the factor of the form for sparse data (Model_sparse.py of the authors' torch
        code). There H = mult E_0: the dimensions of the embeddings are the hyperedges, W and act
        are left out, and no entry of H is dropped. The views are those of the layers 0 to L - 1,
        where the local and the global view of layer 0 are both E_0.
    """

    def __init__(
        self,
        graph: Interactions,
        params: GraphTraining,
        seed: int,
        keep: float,
        num_hyperedges: int,
        activation: bool = False,
        mult: float | None = None,
        device: str = "cpu",
    ):
        super().__init__()
        self.num_users = graph.num_users
        self.num_layers = params.num_layers
        self.keep = keep
        self.mult = mult
        self.sides = (graph.num_users, graph.num_items)
        self.embedding = nn.Parameter(initial_embedding(sum(self.sides), params, seed).to(device))
        self.adjacency = normalized_adjacency(graph, device)
        self.edges = EdgeDropout(graph, self.adjacency, keep, rescale=True)
        self.act = nn.LeakyReLU(0.5) if activation and mult is None else nn.Identity()
        if mult is not None:
            return
        generator = torch.Generator().manual_seed(seed + 1)
        shape = (params.embedding_dim, num_hyperedges)
        for name in ("user_hyperedges", "item_hyperedges"):
            start = nn.init.xavier_uniform_(torch.empty(shape), generator=generator)
            setattr(self, name, nn.Parameter(start.to(device)))

    def forward(self, generator: torch.Generator | None) -> Encoded:
        """Encode. generator: on the CPU; None encodes without dropout."""
        hyper = self._hyperedges()
        layer: torch.Tensor = self.embedding
        total: torch.Tensor = self.embedding
        views = []
        for _ in range(self.num_layers):
            local = multiply(self.edges(generator) if generator else self.adjacency, layer)
            drops = generator and self.mult is None
            rows = [self._dropped(h, generator) for h in hyper] if drops else hyper
            wide = torch.cat(
                [
                    self.act(h @ self.act(h.T @ e))
                    for h, e in zip(rows, layer.split(self.sides), strict=True)
                ]
            )
            views.append((local, wide))
            layer = local + wide
            total = total + layer
        if self.mult is not None:
            views = [(self.embedding, self.embedding), *views[:-1]]
        return Encoded(total, tuple(views))

    def _hyperedges(self) -> list[torch.Tensor]:
        """Compute H of users and of items, each (nodes, num_hyperedges)."""
        own = self.embedding.split(self.sides)
        if self.mult is not None:
            return [self.mult * embedding for embedding in own]
        return [own[0] @ self.user_hyperedges, own[1] @ self.item_hyperedges]

    def serve(self) -> torch.Tensor:
        """Encode for ranking, without dropout: (N, D)."""
        return self(None).hidden

    def _dropped(self, hyper: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Keep each entry of H with probability `keep`, and divide the kept ones by it.

        The probability is exact to 1/65,536.
        """
        if self.keep == 1:
            return hyper
        # an entry takes 16 random bits, a third of the time of a random float
        bits = torch.empty(-(-hyper.numel() // 4), dtype=torch.int64).random_(
            -(2**63), None, generator=generator
        )
        least = min(round((1 - self.keep) * 2**16), 2**16 - 1) - 2**15
        kept = bits.view(torch.int16)[: hyper.numel()].view(hyper.shape) >= least
        return hyper * kept.to(hyper).div_(self.keep)
