"""Node embeddings of users and items, trained by a ranking loss.

The encoder is LightGCN (He et al., SIGIR 2020) or another convolution. Its layers are averaged. The
loss is BPR, or softmax over all items.
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
from glta.nn.graph.encoders import Encoder, make_encoder
from glta.nn.graph.propagation import normalized_adjacency, propagate
from glta.nn.graph.ranker import Evaluate, NodeRanker, Ranker, RankerTask, train_ranker
from glta.nn.graph.sampled_propagation import SampledEncoder, SampledRanker, SampledTask
from glta.nn.graph.settings import EncoderSettings
from glta.storage.arrays import load_arrays, save_arrays
from glta.storage.files import write_json
from glta.storage.schema import check_schema

SCHEMA = 1
"""Counts the forms that the saved embeddings have had."""


@dataclass(frozen=True)
class NodeEmbeddings:
    """Hold a trained encoder. It can encode any graph over the same nodes.

    user: (U, D), item: (I, D), float32 layer-0 embeddings of the best epoch.
    history: one record an epoch.
    encoder, heads: as in `EncoderSettings`.
    weights: of the convolutions, float32, by their names in the encoder. lightgcn and lgconv have
        none.
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
        """Encode a graph. Returns the embeddings of users (U, D) and of items (I, D).

        The score of a user and an item is their dot product.
        """
        hidden = self._hidden(graph, self.num_layers)
        return hidden[: graph.num_users], hidden[graph.num_users :]

    def messages(self, graph: Interactions) -> np.ndarray:
        """Compute what each item contributes to a user without a node: (I, D) float32.

        `fold_in` adds these messages up to the embedding of such a user.
        The propagated embedding of a user of the graph is E_u / (L + 1) + the sum over their n
        items of m_i / sqrt(n), with m_i = sum_{l<L} (A^l E)_i / ((L + 1) sqrt(users of i)). A user
        without a node has no E_u. Instead, a D x D map is applied to the m_i. It is fitted by least
        squares, so that the sums approximate the propagated embeddings of the graph's users.
        Without layers the messages are zeros. So is that of an item without users in the graph: its
        embedding was only ever pushed away from users, and says nothing of those who have it.

        For other convolutions, the item's layers l < L take the place of A^l E, and the map also
        stands for the weights of the convolution. The result is a rough estimate then: it ignores
        attention (gatv2), and sage's mean in place of the sum over sqrt(n).
        """
        if not self.num_layers:
            return np.zeros_like(self.item)
        below = self._hidden(graph, self.num_layers - 1)[graph.num_users :]
        share = self.num_layers / (self.num_layers + 1)
        scale_I = share / np.sqrt(np.maximum(graph.item_degree, 1))
        message = below * scale_I[:, None]
        received = fold_in(history_matrix(graph), message)
        fitted = np.linalg.lstsq(
            received.astype(np.float64), self.propagated(graph)[0], rcond=None
        )[0]
        return (message @ fitted).astype(np.float32) * (graph.item_degree > 0)[:, None]

    def save(self, folder: Path) -> None:
        """Write model.safetensors and history.json; docs/artefacts.md describes them."""
        arrays = {"user": self.user, "item": self.item, **self.weights}
        meta = {
            "schema": SCHEMA,
            "num_layers": self.num_layers,
            "best_epoch": self.best_epoch,
            "encoder": self.encoder,
            "heads": self.heads,
        }
        save_arrays(folder / "model.safetensors", arrays, meta)
        write_json(folder / "history.json", self.history)

    @classmethod
    def load(cls, folder: Path) -> NodeEmbeddings:
        """Read what `save` wrote, without the history, which only the report needs."""
        path = folder / "model.safetensors"
        arrays, meta = load_arrays(path)
        check_schema(meta, SCHEMA, path)
        return cls(
            arrays.pop("user"),
            arrays.pop("item"),
            meta["num_layers"],
            best_epoch=meta["best_epoch"],
            encoder=meta["encoder"],
            heads=meta["heads"],
            weights=arrays,
        )

    def _hidden(self, graph: Interactions, last: int) -> np.ndarray:
        """Encode a graph and average layers 0..last: (N, D)."""
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
    *,
    serve: Interactions | None = None,
    of_size: int | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
    device: str = "cpu",
) -> NodeEmbeddings:
    """Train node embeddings, and return those of the best epoch on validation.

    Without `evaluate` they are those of the last epoch.
    graph: the edges to propagate over and the positive pairs of the loss.
    serve: the edges to propagate over in validation; None: those of graph. GLTA trains on a part of
        the training edges, and propagates over all of them in validation.
    of_size: with more than params.max_whole_edges interactions, steps sample neighbours
        (`SampledEncoder`). Trainings that are compared give the same number here; None: the number
        of edges of the graph.
    See `train_ranker` for the other arguments.
    """
    encoder: Encoder
    model: NodeRanker
    if params.samples(len(graph) if of_size is None else of_size):
        task: type[RankerTask] = SampledTask
        encoder = SampledEncoder(graph, params, seed, serve=serve, device=device)
        model = SampledRanker(encoder, params)
    else:
        task = RankerTask
        encoder = make_encoder(graph, params, seed, serve=serve, device=device)
        model = Ranker(encoder, params)
    history, best_epoch = train_ranker(
        model,
        graph,
        seed,
        evaluate=evaluate,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        section="settings.lightgcn",
        task=task,
    )
    weights = {name: tensor.cpu().numpy() for name, tensor in encoder.state_dict().items()}
    final = weights.pop("embedding")
    return NodeEmbeddings(
        final[: graph.num_users],
        final[graph.num_users :],
        params.num_layers,
        history=history,
        best_epoch=best_epoch,
        encoder=params.encoder,
        heads=params.heads if params.encoder == "gatv2" else 1,
        weights=weights,
    )
