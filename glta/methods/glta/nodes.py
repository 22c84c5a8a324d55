"""Which graph the alignment sees: the leak-free cut of the training edges, or all of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from glta.data.prepared import Prepared
from glta.methods.glta.aligner import Nodes
from glta.methods.glta.settings import AlignSettings
from glta.nn.graph.node_embeddings import NodeEmbeddings


class GraphNodes(NamedTuple):
    """Node embeddings while training (propagated over the edges that are no targets), and while
    serving (all edges).
    """

    training: Nodes
    serving: Nodes


def load_nodes(pretrain: Path, prepared: Prepared, shared: AlignSettings) -> GraphNodes:
    """Propagate the layer-0 embeddings that fit shared.targets. pretrain: folder with all/ and
    graph/.

    held_out: NodeEmbeddings was trained on the graph's edges alone, so no target has touched a node
    embedding; serving propagates the same layer 0 over all training edges. all: trained and
    propagated on every training edge (leaky).
    """
    held_out, model = shared.targets == "held_out", _graph_model(pretrain, shared)

    def over(graph) -> Nodes:
        return Nodes(*(torch.from_numpy(array) for array in model.propagated(graph)))

    serving = over(prepared.train)
    return GraphNodes(over(prepared.graph) if held_out else serving, serving)


def load_messages(pretrain: Path, prepared: Prepared, shared: AlignSettings) -> np.ndarray:
    """Tell what people without a node receive from the serving items, (I, D); see
    `LightGCN.messages`.
    """
    return _graph_model(pretrain, shared).messages(prepared.train)


def _graph_model(pretrain: Path, shared: AlignSettings) -> NodeEmbeddings:
    return NodeEmbeddings.load(pretrain / ("graph" if shared.targets == "held_out" else "all"))
