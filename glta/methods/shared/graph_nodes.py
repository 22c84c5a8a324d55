"""Load the node embeddings that the alignment reads."""

# U users, I items, D graph width
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.nn.graph.node_embeddings import NodeEmbeddings


@dataclass(frozen=True)
class Nodes:
    """Hold the frozen, propagated node embeddings: user (U, D), item (I, D)."""

    user: torch.Tensor
    item: torch.Tensor

    def to(self, device: torch.device) -> Nodes:
        """Copy users and items to a device."""
        return Nodes(self.user.to(device), self.item.to(device))


class GraphNodes(NamedTuple):
    """Hold the node embeddings of training and of serving.

    training: propagated over the edges that are no targets. serving: propagated over all training
    edges.
    """

    training: Nodes
    serving: Nodes


def load_nodes(embeddings: Path, prepared: Prepared, held_out: bool) -> GraphNodes:
    """Propagate layer-0 embeddings. embeddings: folder that `NodeEmbeddings.load` reads.

    held_out: True when the embeddings were trained on the edges of `prepared.graph` alone. No
    target has then influenced a node embedding, and serving propagates the same layer 0 over all
    training edges. False when they were trained on all training edges; both are then propagated
    over all of them, so targets leak.
    """
    model = NodeEmbeddings.load(embeddings)

    def over(graph: Interactions) -> Nodes:
        return Nodes(*(torch.from_numpy(array) for array in model.propagated(graph)))

    serving = over(prepared.train)
    return GraphNodes(over(prepared.graph) if held_out else serving, serving)
