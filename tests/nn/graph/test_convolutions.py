"""Encoders of torch-geometric's convolutions: against LightGCN, by hand, trained, and as files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.sparse import csr_array

from glta.data.histories import fold_in, history_matrix
from glta.data.interactions import Interactions
from glta.evaluation.validation import embeddings_ndcg, validation_ndcg
from glta.nn.graph.convolutions import CONVOLUTIONS, ConvolutionEncoder, Edges
from glta.nn.graph.encoders import LightGCNEncoder, make_encoder
from glta.nn.graph.node_embeddings import NodeEmbeddings, train
from glta.nn.graph.settings import EncoderSettings
from tests.nn.graph.test_lightgcn import random_graph

EVERY = sorted(CONVOLUTIONS)
OTHERS = [name for name in EVERY if name != "lgconv"]
BLOCKS = EncoderSettings(
    embedding_dim=8,
    num_layers=2,
    learning_rate=0.05,
    steps=120,
    evaluate_every=8,
    batch_size=64,
    heads=2,
)


def settings(name: str, **values) -> EncoderSettings:
    return BLOCKS.model_copy(update={"encoder": name, **values})


@pytest.fixture(scope="module")
def trained(prepared) -> dict[str, NodeEmbeddings]:
    """Train every encoder on the alignment's graph, a part of the training edges."""
    evaluate = embeddings_ndcg(prepared)
    return {
        name: train(prepared.graph, settings(name), 0, evaluate, serve=prepared.train)
        for name in ["lightgcn", *EVERY]
    }


def test_every_name_of_the_settings_has_an_encoder():
    names = EncoderSettings.model_fields["encoder"].annotation.__args__
    assert set(names) == {"lightgcn", *CONVOLUTIONS}
    graph = random_graph()
    assert type(make_encoder(graph, settings("lightgcn"), 0)) is LightGCNEncoder
    for name in EVERY:
        assert type(make_encoder(graph, settings(name), 0)) is ConvolutionEncoder


@pytest.mark.parametrize("num_layers", [0, 1, 3])
@pytest.mark.parametrize("keep", [1.0, 0.6])
def test_lgconv_is_lightgcn(num_layers, keep):
    graph, serve = random_graph(), random_graph(seed=9)
    weight = torch.randn(21, 8, generator=torch.Generator().manual_seed(1))
    found = []
    for kind in (LightGCNEncoder, ConvolutionEncoder):
        params = settings("lgconv", num_layers=num_layers)
        encoder = kind(graph, params, 3, keep=keep, serve=serve)
        hidden = encoder(torch.Generator().manual_seed(5)).hidden
        (weight * hidden.sigmoid()).sum().backward()
        found.append((hidden.detach(), encoder.serve().detach(), encoder.embedding.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def two_by_two() -> Interactions:
    """User 0 has items 0 and 1, user 1 has item 1: nodes 0, 1 and 2, 3."""
    return Interactions.of([0, 0, 1], [0, 1, 1], 2, 2)


def test_graphconv_and_sage_by_hand():
    graph, embedding = two_by_two(), torch.eye(4)
    neighbours = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0], [1, 1, 0, 0]])
    degree = neighbours.sum(1)
    operators = {
        "sage": neighbours / degree[:, None],
        "graphconv": neighbours / (degree[:, None] * degree).sqrt(),
    }
    for name, operator in operators.items():
        params = settings(name, embedding_dim=4, num_layers=1)
        encoder = ConvolutionEncoder(graph, params, 0)
        encoder.embedding.data = embedding
        layer = encoder.convolutions.layers[0]
        own, others = (
            (layer.lin_r, layer.lin_l) if name == "sage" else (layer.lin_root, layer.lin_rel)
        )
        first = embedding @ own.weight.T + operator @ embedding @ others.weight.T
        torch.testing.assert_close(encoder.serve(), (embedding + first) / 2)


def test_attention_of_a_node_adds_up_to_one():
    """All nodes alike: their average is one of them, whatever the attention."""
    params = settings("gatv2", embedding_dim=4, num_layers=1)
    encoder = ConvolutionEncoder(two_by_two(), params, 0)
    encoder.embedding.data = torch.ones(4, 4)
    first = torch.ones(4, 4) @ encoder.convolutions.layers[0].lin_l.weight.T
    torch.testing.assert_close(encoder.serve(), (1 + first) / 2)


@pytest.mark.parametrize("name", EVERY)
def test_a_kept_interaction_is_kept_in_both_directions(name):
    graph = random_graph()
    edges = Edges.of(graph).kept(0.5, torch.Generator().manual_seed(0))
    half = edges.weight.numel() // 2
    assert 0 < half < len(graph)
    assert torch.equal(edges.ends[:, :half], edges.ends[:, half:].flip(0))
    encoder = ConvolutionEncoder(graph, settings(name), 0, keep=0.5)
    some, same, other = (encoder(torch.Generator().manual_seed(seed)).hidden for seed in (0, 0, 1))
    assert torch.equal(some, same)
    assert not torch.equal(some, other)
    assert torch.equal(encoder.serve(), ConvolutionEncoder(graph, settings(name), 0).serve())


@pytest.mark.parametrize("name", EVERY)
def test_weights_follow_the_seed_and_leave_torch_as_it_was(name):
    graph = random_graph()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = ConvolutionEncoder(graph, settings(name), 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    again, other = (ConvolutionEncoder(graph, settings(name), seed) for seed in (0, 1))
    assert torch.equal(first.serve(), again.serve())
    weights, others = first.convolutions.state_dict(), other.convolutions.state_dict()
    assert set(weights) == set(others)
    assert not any(torch.equal(weights[key], others[key]) for key in weights)
    assert bool(weights) == (name != "lgconv")


def ndcg(prepared, user, item) -> float:
    return validation_ndcg(prepared, lambda users: user[users] @ item.T)


@pytest.mark.parametrize("name", EVERY)
def test_learns_the_block_pattern_without_the_targets(prepared, trained, name):
    """Trained on the graph without its targets, served on all training edges, as GLTA does."""
    model = trained[name]
    user, item = model.propagated(prepared.train)
    # a user's block has two items left, either may come first: 0.82 on average
    assert ndcg(prepared, user, item) > 0.75
    assert model.history[-1]["loss"] < model.history[0]["loss"]
    best = model.history[model.best_epoch]["valid"]
    assert ndcg(prepared, user, item) == pytest.approx(best, abs=1e-6)


def test_lgconv_trains_like_lightgcn(trained):
    ours, theirs = trained["lightgcn"], trained["lgconv"]
    losses = [[record["loss"] for record in model.history] for model in (ours, theirs)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert not theirs.weights


@pytest.mark.parametrize("name", EVERY)
def test_saved_and_loaded_is_equal_to_the_last_bit(prepared, trained, name, tmp_path):
    model = trained[name]
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        model.save(tmp_path / folder)
    loaded = NodeEmbeddings.load(tmp_path / "first")
    assert (loaded.encoder, loaded.num_layers, loaded.best_epoch) == (name, 2, model.best_epoch)
    for graph in (prepared.graph, prepared.train):
        for ours, theirs in zip(loaded.propagated(graph), model.propagated(graph), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for file in ("model.safetensors", "history.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_weights_of_another_convolution_are_refused(prepared, trained):
    wrong = replace(trained["sage"], encoder="gatv2", heads=2)
    with pytest.raises(
        ValueError, match=r"not those of 2 layers of gatv2 .*run the stages pretrain-all"
    ):
        wrong.propagated(prepared.train)


def test_messages_of_lgconv_are_those_of_lightgcn(prepared, trained):
    layers = trained["lightgcn"]
    same = NodeEmbeddings(layers.user, layers.item, 2, encoder="lgconv")
    np.testing.assert_allclose(
        same.messages(prepared.train), layers.messages(prepared.train), atol=1e-4
    )


@pytest.mark.parametrize("name", ["lightgcn", *EVERY])
def test_an_item_that_nobody_has_says_nothing_of_a_new_user(prepared, trained, name):
    """Its embedding was only ever pushed away from users, and its degree is that of no item."""
    pairs, model = prepared.train, trained[name]
    kept = pairs.item != 6
    without = Interactions(pairs.user[kept], pairs.item[kept], pairs.num_users, pairs.num_items)
    found = model.messages(without)
    assert np.flatnonzero(~found.any(1)).tolist() == [6]
    both, one = np.zeros((2, 1, pairs.num_items))
    both[0, [2, 6]], one[0, 2] = 1, 1
    place, expected = (fold_in(csr_array(history), found)[0] for history in (both, one))
    np.testing.assert_allclose(place * np.sqrt(2), expected, rtol=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_people_without_a_node_are_placed_near_users_with_their_items(prepared, trained, name):
    model = trained[name]
    placed = fold_in(history_matrix(prepared.train), model.messages(prepared.train))
    user, item = model.propagated(prepared.train)
    assert ndcg(prepared, placed, item) > 0.75
    known = prepared.train.user_degree > 0
    missed = np.square(placed - user)[known].sum() / np.square(user)[known].sum()
    assert missed < 0.2


@pytest.mark.parametrize("name", EVERY)
def test_resumed_equals_uninterrupted(tmp_path, name):
    graph, params = random_graph(), settings(name, steps=30, evaluate_every=8, batch_size=16)

    class Stopped(Exception):
        pass

    def stop(record):
        if record["epoch"] == 2:
            raise Stopped

    whole = train(graph, params, 0)
    with pytest.raises(Stopped):
        train(graph, params, 0, checkpoint=tmp_path, on_epoch=stop)
    resumed = train(graph, params, 0, checkpoint=tmp_path)
    assert resumed.history == whole.history
    assert resumed.weights.keys() == whole.weights.keys()
    for key, weight in whole.weights.items():
        np.testing.assert_array_equal(resumed.weights[key], weight)


def test_heads_must_divide_the_width():
    with pytest.raises(ValidationError, match="heads = 4 does not divide embedding_dim = 6"):
        EncoderSettings(encoder="gatv2", embedding_dim=6)
    assert EncoderSettings(encoder="sage", embedding_dim=6).heads == 4
