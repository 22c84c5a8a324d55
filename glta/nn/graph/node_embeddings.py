"""LightGCN (He et al., SIGIR 2020), or other convolutions, with mean layer combination, trained by
BPR or by softmax over the catalogue.
"""

# U users, I items, N = U + I nodes, D embedding width
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from glta.data.histories import fold_in, history_matrix
from glta.data.interactions import Interactions
from glta.nn.graph.encoders import make_encoder
from glta.nn.graph.propagation import normalized_adjacency, propagate
from glta.nn.graph.ranker import Evaluate, Ranker, train_ranker
from glta.nn.graph.settings import EncoderSettings
from glta.storage.arrays import load_arrays, save_arrays
from glta.storage.files import write_json


@dataclass(frozen=True)
class NodeEmbeddings:
    """Hold a trained encoder: layer-0 embeddings and weights, with which any graph over the same
    nodes can be encoded.

    user (U, D) and item (I, D): float32 layer-0 embeddings of the best epoch. history: one record
    an epoch. encoder, heads: as in `EncoderSettings`. weights: of the convolutions, float32, by
    their names in the encoder; lightgcn and lgconv have none.
    """

    user: np.ndarray
    item: np.ndarray
    num_layers: int
    history: list[dict] = field(default_factory=list)
    best_epoch: int = -1
    encoder: str = "lightgcn"
    heads: int = 1
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)

    def propagated(self, graph: Interactions) -> tuple[np.ndarray, np.ndarray]:
        """Encode over a graph: users (U, D) and items (I, D).

        The score of a pair is their dot product.
        """
        hidden = self._hidden(graph, self.num_layers)
        return hidden[: graph.num_users], hidden[graph.num_users :]

    def messages(self, graph: Interactions) -> np.ndarray:
        """Tell what somebody without a node receives from an item, (I, D), to be summed up by
        `fold_in`.

        A user's propagated embedding is E_u / (L + 1) + sum over their n items of m_i / sqrt(n),
        with m_i = sum_{l<L} (A^l E)_i / ((L + 1) sqrt(users of i)). Without E_u, the D x D map that
        is best in least squares over the graph's users makes up for it; returns m_i under that map.
        Zeros without a layer.

        With other convolutions m_i has the item's layers l < L in place of A^l E. The map then also
        makes up for the convolution's weights. Such a place is an estimate: attention, and the mean
        in place of the sum over sqrt(n), are not in it.
        """
        if not self.num_layers:
            return np.zeros_like(self.item)
        below = self._hidden(graph, self.num_layers - 1)[graph.num_users :]
        share = self.num_layers / (self.num_layers + 1)
        scale_I = share / np.sqrt(np.maximum(graph.item_degree, 1))
        message = below * scale_I[:, None]
        received = fold_in(history_matrix(graph), message)
        completed = np.linalg.lstsq(
            received.astype(np.float64), self.propagated(graph)[0], rcond=None
        )[0]
        return (message @ completed).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write model.safetensors and history.json: docs/artefacts.md, pretrain."""
        arrays = {"user": self.user, "item": self.item, **self.weights}
        meta = {
            "num_layers": self.num_layers,
            "best_epoch": self.best_epoch,
            "encoder": self.encoder,
            "heads": self.heads,
        }
        save_arrays(folder / "model.safetensors", arrays, meta)
        write_json(folder / "history.json", self.history)

    @classmethod
    def load(cls, folder: Path) -> NodeEmbeddings:
        """Read what `save` wrote, but for the history, which nothing but the report needs."""
        arrays, meta = load_arrays(folder / "model.safetensors")
        return cls(
            arrays.pop("user"),
            arrays.pop("item"),
            meta["num_layers"],
            best_epoch=meta.get("best_epoch", -1),
            encoder=meta.get("encoder", "lightgcn"),
            heads=meta.get("heads", 1),
            weights=arrays,
        )

    def _hidden(self, graph: Interactions, last: int) -> np.ndarray:
        """Average layers 0..last over a graph, (N, D)."""
        layer0 = torch.from_numpy(np.concatenate([self.user, self.item]))
        if self.encoder == "lightgcn":
            with torch.inference_mode():
                return propagate(normalized_adjacency(graph), layer0, last).numpy()
        from glta.nn.graph.convolutions import convolved, mean

        layers = convolved(
            self.encoder,
            layer0,
            graph,
            num_layers=self.num_layers,
            heads=self.heads,
            weights=self.weights,
        )
        return mean(layers[: last + 1]).numpy()


def train(
    graph: Interactions,
    params: EncoderSettings,
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
    encoder = make_encoder(graph, params, seed, serve=serve, device=device)
    model = Ranker(encoder, params)
    history, best_epoch = train_ranker(model, graph, seed, evaluate, checkpoint, on_epoch)
    weights = {name: tensor.cpu().numpy() for name, tensor in encoder.state_dict().items()}
    final = weights.pop("embedding")
    return NodeEmbeddings(
        final[: graph.num_users],
        final[graph.num_users :],
        params.num_layers,
        history,
        best_epoch,
        params.encoder,
        params.heads if params.encoder == "gatv2" else 1,
        weights,
    )
