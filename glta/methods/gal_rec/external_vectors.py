"""What a node is told by before the language model reads it: graph embedding and text state."""

# U users, I items, B new users, D graph width, W text width, T directions of text, F = D + T
from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import fold_in, history_matrix, mean_of_items
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.methods.gal_rec.spec import External
from glta.methods.shared.text_space import mean_state, unit_rows

if TYPE_CHECKING:
    from glta.methods.shared.graph_nodes import GraphNodes, Nodes

TEXT_WIDTH = 64
"""Directions of text that are kept."""

SINGULAR_POWER = 0.25
"""Texts are whitened in part: see `whitening_map`, whose default for text-knn this is."""


@dataclass(frozen=True)
class ExternalParts:
    """Compute vectors of users from their items alone.

    message: (I, D), see `fold_in`, in the unit of the vectors' graph part. text: (I, T), the text
    part of the items, rows of length 1 or 0. A part that is not used has the width 0.
    """

    message: np.ndarray
    text: np.ndarray

    @property
    def width(self) -> int:
        """F, the width of the vectors."""
        return self.message.shape[1] + self.text.shape[1]

    @property
    def graph_width(self) -> int:
        """D, the width of the graph part."""
        return self.message.shape[1]

    def users_with(self, history_BI: csr_array) -> np.ndarray:
        """Compute the vectors of users by their items: (B, F) float32. history_BI: 0/1."""
        return np.concatenate([fold_in(history_BI, self.message), self.words_of(history_BI)], 1)

    def words_of(self, history_BI: csr_array) -> np.ndarray:
        """Compute the text part of users: the mean of their items', scaled to length 1: (B, T)."""
        return unit_rows(mean_of_items(history_BI, self.text))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays, to be saved."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def text_part(states_IW: np.ndarray, train: Interactions) -> np.ndarray:
    """Project text states on their main directions, whitened in part: (I, T), length 1 or 0."""
    centred_IW = states_IW - mean_state(states_IW, train)
    known_KW = centred_IW[train.item_degree > 0].astype(np.float64)
    squared_W, directions_WW = np.linalg.eigh(known_KW.T @ known_KW)
    value_W = np.sqrt(squared_W.clip(0))[::-1]
    width = min(TEXT_WIDTH, int((value_W > 1e-4 * value_W[0]).sum()))
    map_WT = directions_WW[:, ::-1][:, :width] * value_W[:width] ** (SINGULAR_POWER - 1)
    return unit_rows(centred_IW @ map_WT)


def external_nodes(
    external: External, embeddings: Path, prepared: Prepared, states_IW: np.ndarray
) -> tuple[GraphNodes, ExternalParts]:
    """Make the vectors of all nodes, for training and for serving, and what new users need.

    Vectors of training come from the edges of `prepared.graph` alone, so that no target is in them.
    Those of serving come from all training edges. embeddings: folder of the step pretrain-graph.
    states_IW: text states of the items.
    """
    import torch

    from glta.methods.shared.graph_nodes import GraphNodes, Nodes, load_nodes
    from glta.nn.graph.node_embeddings import NodeEmbeddings

    train = prepared.train
    nodes = load_nodes(embeddings, prepared, held_out=True)
    message = NodeEmbeddings.load(embeddings).messages(train)
    # of the order of the text part, whose rows have length 1
    unit = float(nodes.training.item.norm(dim=1).mean().clamp_min(1e-12))
    parts = ExternalParts(message / unit, text_part(states_IW, train))
    if external == "graph":
        parts = ExternalParts(parts.message, parts.text[:, :0])
    if external == "text":
        parts = ExternalParts(parts.message[:, :0], parts.text)

    def joined(graph: Nodes, pairs: Interactions) -> Nodes:
        words = parts.words_of(history_matrix(pairs))
        sides = ((graph.user, words), (graph.item, parts.text))
        return Nodes(
            *(
                torch.cat([g[:, : parts.graph_width] / unit, torch.from_numpy(t)], 1)
                for g, t in sides
            )
        )

    training = joined(nodes.training, prepared.graph)
    return GraphNodes(training, joined(nodes.serving, train)), parts
