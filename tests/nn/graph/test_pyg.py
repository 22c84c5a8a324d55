"""Exchange with torch-geometric: equal scores both ways, and a dataset as its graph."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch_geometric.nn import LGConv
from torch_geometric.nn.models import LightGCN

from glta.nn.graph.node_embeddings import NodeEmbeddings
from glta.nn.graph.pyg import RELATION, REVERSE, from_pyg, hetero_data, to_pyg
from glta.testing.blocks import NUM_ITEMS, NUM_USERS, block_states
from tests.nn.graph.test_lightgcn import random_graph


def model_of(graph, num_layers: int) -> NodeEmbeddings:
    rng = np.random.default_rng(0)
    user, item = (
        rng.normal(size=(size, 8)).astype(np.float32) for size in (graph.num_users, graph.num_items)
    )
    return NodeEmbeddings(user, item, num_layers)


def scores_of(model: NodeEmbeddings, graph) -> np.ndarray:
    user, item = model.propagated(graph)
    return user @ item.T


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_scores_are_equal_there_and_back(num_layers):
    graph = random_graph()
    model = model_of(graph, num_layers)
    torch.manual_seed(4)
    before = torch.get_rng_state()
    pyg, edge_index = to_pyg(model, graph)
    assert torch.equal(torch.get_rng_state(), before)
    user, item = np.divmod(np.arange(graph.num_users * graph.num_items), graph.num_items)
    label_index = torch.from_numpy(np.stack([user, item + graph.num_users]))
    with torch.no_grad():
        theirs = pyg(edge_index, label_index).numpy().reshape(graph.num_users, -1)
    np.testing.assert_allclose(theirs, scores_of(model, graph), atol=1e-6)
    back = from_pyg(pyg, graph.num_users)
    np.testing.assert_array_equal(scores_of(back, graph), scores_of(model, graph))


def test_a_model_made_there_scores_alike_here():
    graph = random_graph()
    torch.manual_seed(0)
    pyg = LightGCN(graph.num_users + graph.num_items, 8, 2)
    ours = scores_of(from_pyg(pyg, graph.num_users), graph)
    nodes = torch.arange(graph.num_users + graph.num_items)
    edge_index = to_pyg(model_of(graph, 2), graph).edge_index
    best = pyg.recommend(edge_index, None, nodes[: graph.num_users], nodes[graph.num_users :], 1)
    np.testing.assert_array_equal(best[:, 0].numpy() - graph.num_users, ours.argmax(1))
    hidden = pyg.get_embedding(edge_index).detach().numpy()
    theirs = hidden[: graph.num_users] @ hidden[graph.num_users :].T
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_what_the_other_side_cannot_hold_is_refused():
    graph = random_graph()
    model = model_of(graph, 2)
    with pytest.raises(ValueError, match="encoder sage: torch-geometric's LightGCN has no weights"):
        to_pyg(replace(model, encoder="sage"), graph)
    with pytest.raises(ValueError, match="the model has 12 users and 9 items, the graph 5 and 9"):
        to_pyg(model, random_graph(num_users=5))
    with pytest.raises(ValueError, match=r"alpha = \[0\.5, 0\.5, 0\.5\]: only the mean"):
        from_pyg(LightGCN(21, 8, 2, alpha=0.5), 12)
    with pytest.raises(ValueError, match="only normalised layers"):
        from_pyg(LightGCN(21, 8, 2, normalize=False), 12)
    with pytest.raises(ValueError, match="num_users = 21: must be from 1 to 20"):
        from_pyg(LightGCN(21, 8, 2), 21)


def test_a_dataset_as_a_graph(prepared):
    data = hetero_data(prepared, text_states=block_states())
    assert data.validate()
    assert (data["user"].num_nodes, data["item"].num_nodes) == (NUM_USERS, NUM_ITEMS)
    assert data["item"].x.shape == (NUM_ITEMS, 8)
    found = data[RELATION]
    parts = {"train": found.edge_index, "valid": found.valid_label_index}
    for name, index in (parts | {"test": found.test_label_index}).items():
        pairs = getattr(prepared, name)
        assert set(map(tuple, index.T.tolist())) == set(zip(pairs.user, pairs.item, strict=True))
    assert torch.equal(data[REVERSE].edge_index, found.edge_index.flip(0))
    assert torch.equal(data[REVERSE].time, found.time)
    user, item = found.edge_index[:, 10].tolist()
    (row,) = prepared.parts["train"].collect().filter(user=user, item=item).to_dicts()
    assert (found.position[10], found.time[10]) == (row["position"], row["timestamp"])
    assert (found.valid_position < found.test_position).all()
    assert (found.valid_time < found.test_time).all()


def test_the_graph_of_a_dataset_works_there(prepared):
    """Its homogeneous form is what LightGCN takes, and one convolution spreads over both types."""
    whole = hetero_data(prepared).to_homogeneous()
    model = model_of(prepared.train, 2)
    ours = np.concatenate(model.propagated(prepared.train))
    pyg, _ = to_pyg(model, prepared.train)
    np.testing.assert_allclose(
        pyg.get_embedding(whole.edge_index).detach().numpy(), ours, atol=1e-6
    )
    assert LGConv()(torch.ones(whole.num_nodes, 1), whole.edge_index).shape == (44, 1)


def test_data_without_an_order_or_with_other_texts(prepared):
    plain = hetero_data(replace(prepared, parts={}))
    assert set(plain[REVERSE].keys()) == {"edge_index"}
    assert plain[RELATION].edge_index.shape == (2, len(prepared.train))
    with pytest.raises(ValueError, match="text_states has 7 rows for 20 items"):
        hetero_data(prepared, text_states=np.ones((7, 4)))
