"""LightGCN (He et al., SIGIR 2020) with mean layer combination, trained by BPR or by softmax over
the catalogue.
"""

# U users, I items, N = U + I nodes, D embedding width
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from glta.data.histories import fold_in, history_matrix
from glta.data.interactions import Interactions
from glta.methods.lightgcn.spec import LightGCNSettings
from glta.nn.graph.encoders import LightGCNEncoder
from glta.nn.graph.propagation import normalized_adjacency, propagate
from glta.nn.graph.ranker import Evaluate, Ranker, train_ranker
from glta.storage.arrays import load_arrays


@dataclass(frozen=True)
class NodeEmbeddings:
    """Hold a trained model: layer-0 embeddings, from which any graph over the same nodes can be
    propagated.

    user (U, D) and item (I, D): float32 layer-0 embeddings of the best epoch. history: one record
    an epoch.
    """

    user: np.ndarray
    item: np.ndarray
    num_layers: int
    history: list[dict] = field(default_factory=list)
    best_epoch: int = -1

    def propagated(self, graph: Interactions) -> tuple[np.ndarray, np.ndarray]:
        """Propagate over a graph: users (U, D) and items (I, D).

        The score of a pair is their dot product.
        """
        layer0 = torch.from_numpy(np.concatenate([self.user, self.item]))
        with torch.inference_mode():
            hidden = propagate(normalized_adjacency(graph), layer0, self.num_layers).numpy()
        return hidden[: graph.num_users], hidden[graph.num_users :]

    def messages(self, graph: Interactions) -> np.ndarray:
        """Tell what somebody without a node receives from an item, (I, D), to be summed up by
        `fold_in`.

        A user's propagated embedding is E_u / (L + 1) + sum over their n items of m_i / sqrt(n),
        with m_i = sum_{l<L} (A^l E)_i / ((L + 1) sqrt(users of i)). Without E_u, the D x D map that
        is best in least squares over the graph's users makes up for it; returns m_i under that map.
        Zeros without a layer.
        """
        if not self.num_layers:
            return np.zeros_like(self.item)
        below = replace(self, num_layers=self.num_layers - 1).propagated(graph)[1]
        message = (
            below
            * (self.num_layers / (self.num_layers + 1) / np.sqrt(np.maximum(graph.item_degree, 1)))[
                :, None
            ]
        )
        received = fold_in(history_matrix(graph), message)
        completed = np.linalg.lstsq(
            received.astype(np.float64), self.propagated(graph)[0], rcond=None
        )[0]
        return (message @ completed).astype(np.float32)

    @classmethod
    def load(cls, folder: Path) -> NodeEmbeddings:
        """Read what the stage `pretrain` wrote."""
        arrays, meta = load_arrays(folder / "model.safetensors")
        return cls(
            arrays["user"], arrays["item"], meta["num_layers"], best_epoch=meta["best_epoch"]
        )


def train(
    graph: Interactions,
    params: LightGCNSettings,
    seed: int,
    evaluate: Evaluate | None = None,
    serve: Interactions | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
    device: str = "cpu",
) -> NodeEmbeddings:
    """Train on a graph and return the epoch that was best on validation (the last epoch without
    `evaluate`).

    graph: the edges that are messages and positives. serve: the edges propagated over for
    evaluation, default graph (alignment trains on a part of the training edges and serves from all
    of them). See `train_ranker` for the rest.
    """
    model = Ranker(LightGCNEncoder(graph, params, seed, serve=serve, device=device), params)
    history, best_epoch = train_ranker(model, graph, seed, evaluate, checkpoint, on_epoch)
    final = model.encoder.embedding.detach().cpu().numpy()
    return NodeEmbeddings(
        final[: graph.num_users], final[graph.num_users :], params.num_layers, history, best_epoch
    )
