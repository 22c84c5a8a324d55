"""Encoders made of torch-geometric's convolutions, with LightGCN's graph and layer combination."""

# U users, I items, N = U + I nodes, E interactions, D embedding width
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch_geometric.nn import GATv2Conv, GraphConv, LGConv, SAGEConv

from glta.data.interactions import Interactions
from glta.nn.graph.encoders import Encoded, Encoder, initial_embedding
from glta.nn.graph.settings import EncoderSettings


class Kind(NamedTuple):
    """Describe a convolution.

    make: makes a module from embedding_dim and heads. The module maps (N, D) to (N, D).
    weighted: whether the module takes edge weights. These are LightGCN's 1 / sqrt(degree of user *
        degree of item).
    """

    make: Callable[[int, int], nn.Module]
    weighted: bool


CONVOLUTIONS = {
    "lgconv": Kind(lambda width, heads: LGConv(normalize=False), weighted=True),
    "graphconv": Kind(
        lambda width, heads: GraphConv(width, width, aggr="add", bias=False), weighted=True
    ),
    "sage": Kind(lambda width, heads: SAGEConv(width, width, bias=False), weighted=False),
    "gatv2": Kind(
        lambda width, heads: GATv2Conv(
            width, width // heads, heads=heads, add_self_loops=False, bias=False
        ),
        weighted=False,
    ),
}
"""The convolutions by the names that `EncoderSettings.encoder` has for them.

lgconv: LightGCN as torch-geometric computes it (He et al., SIGIR 2020). graphconv: Morris et al.,
AAAI 2019. sage: mean of the neighbours (Hamilton et al., NeurIPS 2017). gatv2: attention over the
neighbours (Brody et al., ICLR 2022).
"""


class Edges(NamedTuple):
    """Hold every interaction as two directed edges. The edges to items come first.

    ends: (2, 2E) int64, source and target nodes. Item i is node U + i.
    weight: (2E,) float32, 1 / sqrt(degree of user * degree of item).
    """

    ends: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def of(cls, graph: Interactions, device: str | torch.device = "cpu") -> Edges:
        """Make the edges of a graph, on a device."""
        user = torch.from_numpy(graph.user)
        item = torch.from_numpy(graph.item) + graph.num_users
        ends = torch.stack([torch.cat([user, item]), torch.cat([item, user])])
        degree = np.concatenate([graph.user_degree, graph.item_degree])
        scale = torch.from_numpy(1 / np.sqrt(np.maximum(degree, 1)).astype(np.float32))
        weight = scale[ends[0]] * scale[ends[1]]
        return cls(ends.to(device), weight.to(device))

    def kept(self, keep: float, generator: torch.Generator) -> Edges:
        """Return a random part of the interactions, each with both of its edges.

        The weights are not changed. keep: the probability that an interaction stays. generator: on
        the CPU. From equal generators, `EdgeDropout` keeps the same interactions.
        """
        chosen_E = torch.rand(self.weight.numel() // 2, generator=generator) < keep
        chosen = torch.cat([chosen_E, chosen_E]).to(self.weight.device)
        return Edges(self.ends[:, chosen], self.weight[chosen])


class Convolutions(nn.Module):
    """Apply num_layers convolutions of one kind, one after another, each with its own weights.

    There is no activation between layers. LightGCN's paper (section 2.2) finds that an activation
    changes little in a network with weights, and harms one without. There is no bias, because it
    would be the same for every node.
    name: a key of `CONVOLUTIONS`.
    heads: attention heads of gatv2; embedding_dim must be a multiple of it.
    seed: of the initial weights. torch's global random state is not changed.
    """

    def __init__(self, name: str, embedding_dim: int, num_layers: int, heads: int, seed: int):
        super().__init__()
        self.kind = CONVOLUTIONS[name]
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also seed every GPU
            torch.default_generator.manual_seed(seed)
            self.layers = nn.ModuleList(
                self.kind.make(embedding_dim, heads) for _ in range(num_layers)
            )

    def forward(self, embedding_ND: torch.Tensor, edges: Edges) -> list[torch.Tensor]:
        """Return layers 0..num_layers, each (N, D)."""
        found = [embedding_ND]
        for layer in self.layers:
            weight = (edges.weight,) if self.kind.weighted else ()
            found.append(layer(found[-1], edges.ends, *weight))
        return found


def mean(layers: list[torch.Tensor]) -> torch.Tensor:
    """Average the layers: (N, D).

    With lgconv this is LightGCN. Other convolutions combine the layers in the same way, so that
    encoders differ in the convolution alone.
    """
    return torch.stack(layers).mean(0)


class ConvolutionEncoder(Encoder):
    """Average the layers of a stack of convolutions. params.encoder names the convolution.

    graph: the edges for training. serve: the edges for evaluation; None: the same.
    keep: share of interactions that each training step keeps (`Edges.kept`). sage and gatv2 then
        average over the neighbours that are kept.
    """

    def __init__(
        self,
        graph: Interactions,
        params: EncoderSettings,
        seed: int,
        *,
        keep: float = 1.0,
        serve: Interactions | None = None,
        device: str = "cpu",
    ):
        super().__init__()
        self.num_users = graph.num_users
        self.num_layers = params.num_layers
        self.keep = keep
        num_nodes = graph.num_users + graph.num_items
        self.embedding = nn.Parameter(initial_embedding(num_nodes, params, seed).to(device))
        self.convolutions = Convolutions(
            params.encoder, params.embedding_dim, params.num_layers, params.heads, seed + 1
        ).to(device)
        self.edges = Edges.of(graph, device)
        self.serving = self.edges if serve is None or serve is graph else Edges.of(serve, device)

    def forward(self, generator: torch.Generator) -> Encoded:
        """Encode for training, with edges dropped. generator: on the CPU."""
        edges = self.edges if self.keep == 1 else self.edges.kept(self.keep, generator)
        return Encoded(mean(self.convolutions(self.embedding, edges)))

    def serve(self) -> torch.Tensor:
        """Encode for ranking, with all edges: (N, D)."""
        return mean(self.convolutions(self.embedding, self.serving))


@torch.inference_mode()
def convolved(
    name: str,
    layer0_ND: torch.Tensor,
    graph: Interactions,
    *,
    num_layers: int,
    heads: int,
    weights: Mapping[str, np.ndarray],
) -> list[torch.Tensor]:
    """Compute layers 0..num_layers of trained convolutions over a graph, each (N, D).

    weights: of a `ConvolutionEncoder`, by their names there. Raises ValueError when they do not fit
    the convolution.
    """
    stack = Convolutions(name, layer0_ND.shape[1], num_layers, heads, seed=0)
    tensors = {
        key.removeprefix("convolutions."): torch.from_numpy(array) for key, array in weights.items()
    }
    try:
        stack.load_state_dict(tensors)
    except RuntimeError:
        raise ValueError(
            f"the weights are not those of {num_layers} layers of {name} with {heads} heads (found "
            f"{', '.join(weights) or 'none'}); run the stages pretrain-all and "
            "pretrain-graph again"
        ) from None
    return stack(layer0_ND, Edges.of(graph))
