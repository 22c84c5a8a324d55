"""Exchange with torch-geometric: models as its LightGCN, datasets as its HeteroData."""

# U users, I items, N = U + I nodes, E interactions, W width of text states
from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch_geometric.data import HeteroData
from torch_geometric.nn.models import LightGCN

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.nn.graph.convolutions import Edges
from glta.nn.graph.node_embeddings import NodeEmbeddings

RELATION = ("user", "interacts", "item")
REVERSE = ("item", "rev_interacts", "user")
"""The names that `torch_geometric.transforms.ToUndirected` would give."""


class PygLightGCN(NamedTuple):
    """Hold torch-geometric's LightGCN and the edges that it scores with.

    edge_index: (2, 2E) int64, both directions of every interaction. Items come after users: item i
    is node U + i.
    """

    model: LightGCN
    edge_index: torch.Tensor


def to_pyg(model: NodeEmbeddings, graph: Interactions) -> PygLightGCN:
    """Make torch-geometric's LightGCN of a trained one; over the same graph it gives the same
    scores.

    Raises ValueError for an encoder with weights, which that class cannot hold, and for a graph
    over other nodes.
    """
    if model.encoder not in ("lightgcn", "lgconv"):
        raise ValueError(
            f"encoder {model.encoder}: torch-geometric's LightGCN has no weights; export a model "
            "trained with pretrain.encoder: lightgcn"
        )
    if (len(model.user), len(model.item)) != (graph.num_users, graph.num_items):
        raise ValueError(
            f"the model has {len(model.user)} users and {len(model.item)} items, the graph "
            f"{graph.num_users} and {graph.num_items}; give the graph of the same dataset"
        )
    layer0 = torch.from_numpy(np.concatenate([model.user, model.item]))
    with torch.random.fork_rng(devices=[]):  # the weights that it draws are replaced at once
        pyg = LightGCN(*layer0.shape, model.num_layers)
    with torch.no_grad():
        pyg.embedding.weight.copy_(layer0)
    return PygLightGCN(pyg.eval(), Edges.of(graph).ends)


def from_pyg(model: LightGCN, num_users: int) -> NodeEmbeddings:
    """Take the embeddings out of torch-geometric's LightGCN; over the same edges they give the
    same scores.

    num_users: nodes 0..num_users-1 of the model are users, all others items. Raises ValueError when
    its layers are combined in another way than by their mean, or are not normalised.
    """
    if not 0 < num_users < model.num_nodes:
        raise ValueError(
            f"num_users = {num_users}: must be from 1 to {model.num_nodes - 1}, for the model has "
            f"{model.num_nodes} nodes"
        )
    mean = torch.full_like(model.alpha, 1 / (model.num_layers + 1))
    if not torch.allclose(model.alpha, mean):
        raise ValueError(
            f"alpha = {model.alpha.tolist()}: only the mean of the layers is known here, alpha = "
            f"1 / {model.num_layers + 1} for each"
        )
    if not all(layer.normalize for layer in model.convs):
        raise ValueError("LGConv(normalize=False): only normalised layers are known here")
    layer0 = model.embedding.weight.detach().cpu().float().numpy().copy()
    return NodeEmbeddings(layer0[:num_users], layer0[num_users:], model.num_layers)


def hetero_data(prepared: Prepared, *, text_states: np.ndarray | None = None) -> HeteroData:
    """Make a graph of users and items of a dataset.

    Node u of type user is row u of prepared.users, node i of type item row i of prepared.items.
    text_states: (I, W) float32, such as `item` of the stage profile's states.safetensors: becomes
    the items' `x`.

    The relation user, interacts, item has training interactions as `edge_index` (2, E). Validation
    and test interactions are `valid_label_index` and `test_label_index`: to be scored, never to be
    propagated over. Where prepared has the order, edges have `position` (E,) int64 and, unless a
    time is missing, `time` (E,) int64; held-out interactions have `valid_position`, `valid_time`
    and so on. The reverse relation has the same edges, in the same order.
    Raises ValueError when text_states has not one row an item.
    """
    data = HeteroData()
    data["user"].num_nodes = prepared.users.height
    data["item"].num_nodes = prepared.items.height
    if text_states is not None:
        if len(text_states) != prepared.items.height:
            raise ValueError(
                f"text_states has {len(text_states)} rows for {prepared.items.height} items; give "
                "those of the same dataset and split"
            )
        data["item"].x = torch.from_numpy(np.asarray(text_states, np.float32))
    for name, prefix in (("train", ""), ("valid", "valid_"), ("test", "test_")):
        index = "edge_index" if name == "train" else f"{prefix}label_index"
        for key, values in _edges(prepared, name).items():
            data[RELATION][index if key == "index" else prefix + key] = values
    for key, values in _edges(prepared, "train").items():
        reverse = values.flip(0) if key == "index" else values
        data[REVERSE]["edge_index" if key == "index" else key] = reverse
    return data


def _edges(prepared: Prepared, name: str) -> dict[str, torch.Tensor]:
    """Return index (2, E), and position and time (E,) where they are known."""
    pairs = prepared.ordered(name) if prepared.parts else getattr(prepared, name)
    arrays = {"index": np.stack([pairs.user, pairs.item])}
    if prepared.parts:
        arrays["position"] = pairs.position
        if pairs.time is not None:
            arrays["time"] = pairs.time
    return {key: torch.from_numpy(array) for key, array in arrays.items()}
