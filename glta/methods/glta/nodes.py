"""Node embeddings that the alignment reads: over the leak-free part of the training edges, or over
all of them.
"""

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
        """Copy both to a device."""
        return Nodes(self.user.to(device), self.item.to(device))


class GraphNodes(NamedTuple):
    """Node embeddings while training (propagated over the edges that are no targets), and while
    serving (all edges).
    """

    training: Nodes
    serving: Nodes


def load_nodes(embeddings: Path, prepared: Prepared, held_out: bool) -> GraphNodes:
    """Propagate layer-0 embeddings. embeddings: folder that `NodeEmbeddings.load` reads.

    held_out: the embeddings were trained on the edges of `prepared.graph` alone, so no target has
    touched a node embedding; serving propagates the same layer 0 over all training edges. Otherwise
    they were trained on every training edge, and are propagated over all of them (leaky).
    """
    model = NodeEmbeddings.load(embeddings)

    def over(graph: Interactions) -> Nodes:
        return Nodes(*(torch.from_numpy(array) for array in model.propagated(graph)))

    serving = over(prepared.train)
    return GraphNodes(over(prepared.graph) if held_out else serving, serving)
