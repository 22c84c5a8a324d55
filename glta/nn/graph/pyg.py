"""Exchange models (LightGCN) and datasets (HeteroData) with torch-geometric."""

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
"""The names of the relations. `torch_geometric.transforms.ToUndirected` would name them alike."""


class PygLightGCN(NamedTuple):
    """Hold torch-geometric's LightGCN, and the edges that it propagates over.

    edge_index: (2, 2E) int64, both directions of every interaction. Item i is node U + i.
    """

    model: LightGCN
    edge_index: torch.Tensor


def to_pyg(model: NodeEmbeddings, graph: Interactions) -> PygLightGCN:
    """Turn a trained LightGCN into torch-geometric's. Over the same graph it gives the same scores.

    Raises ValueError for an encoder with weights, which torch-geometric's class cannot hold, and
    for a graph with other numbers of users or items.
    """
    if model.encoder not in ("lightgcn", "lgconv"):
        raise ValueError(
            f"encoder {model.encoder}: torch-geometric's LightGCN has no weights; export a model "
            "trained with settings.lightgcn.encoder: lightgcn"
        )
    if (len(model.user), len(model.item)) != (graph.num_users, graph.num_items):
        raise ValueError(
            f"the model has {len(model.user)} users and {len(model.item)} items, the graph "
            f"{graph.num_users} and {graph.num_items}; give the graph of the same dataset"
        )
    layer0 = torch.from_numpy(np.concatenate([model.user, model.item]))
    # it draws random weights, which are replaced below; torch's random state must not change
    with torch.random.fork_rng(devices=[]):
        pyg = LightGCN(*layer0.shape, model.num_layers)
    with torch.no_grad():
        pyg.embedding.weight.copy_(layer0)
    return PygLightGCN(pyg.eval(), Edges.of(graph).ends)


def from_pyg(model: LightGCN, num_users: int) -> NodeEmbeddings:
    """Take the embeddings of torch-geometric's LightGCN. Over the same graph they score alike.

    num_users: nodes 0..num_users-1 of the model are users, all others are items. Raises ValueError
    when the model does not average its layers, or does not normalise them.
    """
    if not 0 < num_users < model.num_nodes:
        raise ValueError(
            f"num_users = {num_users}: must be from 1 to {model.num_nodes - 1}, because the model "
            f"has {model.num_nodes} nodes"
        )
    mean = torch.full_like(model.alpha, 1 / (model.num_layers + 1))
    if not torch.allclose(model.alpha, mean):
        raise ValueError(
            f"alpha = {model.alpha.tolist()}: only the mean of the layers can be imported; make "
            f"the model with alpha = 1 / {model.num_layers + 1} for each layer"
        )
    if not all(layer.normalize for layer in model.convs):
        raise ValueError(
            "LGConv(normalize=False): only normalised layers can be imported; make the model with "
            "normalize=True"
        )
    layer0 = model.embedding.weight.detach().cpu().float().numpy().copy()
    return NodeEmbeddings(layer0[:num_users], layer0[num_users:], model.num_layers)


def hetero_data(prepared: Prepared, *, text_states: np.ndarray | None = None) -> HeteroData:
    """Make torch-geometric's graph of a dataset, with nodes of the types user and item.

    User u is row u of prepared.users, and item i is row i of prepared.items.
    text_states: (I, W) float32, such as `item` in the stage profile's states.safetensors. They
        become the items' `x`.

    In the relation `RELATION`, the training interactions are `edge_index` (2, E). The validation
    and test interactions are `valid_label_index` and `test_label_index`; they are for scoring only,
    and must not be propagated over. If the data have an order, training edges have `position` (E,)
    int64, and `time` (E,) int64 unless a time is missing. Held-out interactions have
    `valid_position`, `valid_time`, `test_position` and `test_time`. The relation `REVERSE` has the
    training edges from item to user, in the same order.
    Raises ValueError when text_states does not have one row an item.
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
    """Return index (2, E), and position and time (E,) where the data have them."""
    pairs = prepared.ordered(name) if prepared.parts else getattr(prepared, name)
    arrays = {"index": np.stack([pairs.user, pairs.item])}
    if prepared.parts:
        arrays["position"] = pairs.position
        if pairs.time is not None:
            arrays["time"] = pairs.time
    return {key: torch.from_numpy(array) for key, array in arrays.items()}
