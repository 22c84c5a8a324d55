"""Evidence about a user that stands beside the read-outs: node embedding and mean text."""

# U users, I items, D graph width, W language width, F = D + W, B users, K read-outs, H state width
from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import torch
from scipy.sparse import csr_array

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.methods.glta.heads import FreeHead, Head
from glta.methods.shared.graph_nodes import GraphNodes
from glta.methods.shared.text_space import text_vectors, unit_rows


def scaled_texts(states_IW: np.ndarray, train: Interactions) -> np.ndarray:
    """Return the item vectors whose sum over a user's items is the user's text: (I, W)."""
    space = text_vectors(states_IW, train)
    return space.item * space.length[:, None]


def evidence_of(node_BD: np.ndarray, history_BI: csr_array, text_IW: np.ndarray) -> np.ndarray:
    """Join node embeddings and mean texts of users: (B, F). text_IW: see `scaled_texts`."""
    return np.concatenate([node_BD, unit_rows(history_BI @ text_IW)], axis=1)


class Evidence(NamedTuple):
    """Hold the evidence about all users, each (U, F) float32.

    training: of the graph alone, so that it holds nothing of a target. serving: of all training
    items.
    """

    training: torch.Tensor
    serving: torch.Tensor

    @classmethod
    def of(
        cls, nodes: GraphNodes, graph: Interactions, train: Interactions, text_IW: np.ndarray
    ) -> Self:
        """Compute it from node embeddings and item texts. text_IW: see `scaled_texts`."""
        device = nodes.serving.user.device

        def of(user: torch.Tensor, pairs: Interactions) -> torch.Tensor:
            found = evidence_of(user.cpu().numpy(), history_matrix(pairs), text_IW)
            return torch.from_numpy(found).to(device)

        return cls(of(nodes.training.user, graph), of(nodes.serving.user, train))


def beside(states_BKH: torch.Tensor, evidence_BF: torch.Tensor) -> torch.Tensor:
    """Put a user's evidence after each read-out: (B, K, H + F)."""
    each = evidence_BF[:, None].expand(-1, states_BKH.shape[1], -1)
    return torch.cat([states_BKH, each.to(states_BKH.device)], 2)


def widened_head(head: Head, extra: int) -> FreeHead:
    """Return a free head that also reads `extra` features, and does not use them yet.

    Raises ValueError for a tied head.
    """
    if not isinstance(head, FreeHead):
        raise ValueError(
            "settings.glta.align_users.evidence = true needs a free head; set "
            "settings.glta.align.head = free"
        )
    items, width = head.weight.shape
    wide = FreeHead(width + extra, items, torch.Generator().manual_seed(0))
    weight, bias = head.linear_copy()
    wide.set(torch.cat([weight, weight.new_zeros(items, extra)], 1), bias)
    wide.centre[:width] = head.centre
    wide.scale[:width] = head.scale
    return wide.to(weight.device)
