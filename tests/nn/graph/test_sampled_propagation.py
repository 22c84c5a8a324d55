"""LightGCN by sampled neighbours: exact with all, unbiased with few, as good when trained."""

# U users, I items, N = U + I nodes
import numpy as np
import pytest
import torch

from glta.evaluation.validation import embeddings_ndcg
from glta.methods.lightgcn.spec import LightGCNSettings
from glta.nn.graph.encoders import LightGCNEncoder
from glta.nn.graph.losses import everything
from glta.nn.graph.node_embeddings import train
from glta.nn.graph.propagation import normalized_adjacency
from glta.nn.graph.ranker import Ranker
from glta.nn.graph.sampled_propagation import (
    SampledEncoder,
    SampledRanker,
    draw_entries,
)
from glta.nn.graph.sampling import sample_epoch
from glta.training.devices import Devices
from glta.training.seeds import epoch_rng
from tests.nn.graph.test_lightgcn import Stopped, random_graph

GRAPH = random_graph(40, 30, 0.3)
PARAMS = LightGCNSettings(
    embedding_dim=8,
    num_layers=3,
    batch_size=16,
    steps=45,
    evaluate_every=8,
    learning_rate=0.02,
    max_whole_edges=1,
    sampled_neighbours=3,
    snapshot_every=5,
)


def some_batch(size: int = 60) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(ids[:size]) for ids in sample_epoch(GRAPH, epoch_rng(0, 0)))


def make(most: int, moved: bool = True) -> SampledRanker:
    """A ranker whose snapshot is another layer 0 than the present one."""
    params = PARAMS.model_copy(update={"sampled_neighbours": most})
    encoder = SampledEncoder(GRAPH, params, 0)
    if moved:
        other = torch.randn(encoder.embedding.shape, generator=torch.Generator().manual_seed(9))
        encoder.take_snapshot(other / 10)
    return SampledRanker(encoder, params)


def gradient(model, seed: int, share=everything) -> tuple[torch.Tensor, torch.Tensor]:
    model.zero_grad()
    loss, _ = model.loss(some_batch(), torch.Generator().manual_seed(seed), share)
    loss.backward()
    return loss.detach(), model.encoder.embedding.grad.to_dense()


@pytest.fixture(scope="module")
def whole() -> tuple[torch.Tensor, torch.Tensor]:
    return gradient(Ranker(LightGCNEncoder(GRAPH, PARAMS, 0), PARAMS), 0)


def test_all_neighbours_give_the_loss_and_gradient_of_the_whole_graph(whole):
    assert GRAPH.item_degree.max() < 30
    for ours, expected in zip(gradient(make(30), 0), whole, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-7, rtol=1e-5)
    assert (gradient(make(2), 0)[1] - whole[1]).abs().max() > 1e-4


def test_a_row_that_has_not_moved_since_the_snapshot_is_exact_with_any_sample(whole):
    loss, of_sample = gradient(make(1, moved=False), 3)
    torch.testing.assert_close(loss, whole[0], atol=1e-7, rtol=1e-6)
    assert (of_sample - whole[1]).abs().max() > 1e-4


@pytest.mark.parametrize("most", [1, 3])
def test_the_mean_gradient_is_that_of_the_whole_graph(whole, most):
    """Known rows make it so to the last digit; the spread of single gradients bounds the error."""
    model = make(most, moved=False)
    found = torch.stack([gradient(model, seed)[1] for seed in range(300)])
    error = (found.mean(0) - whole[1]) / (found.std(0) / 300**0.5).clamp(min=1e-9)
    varies = found.std(0) > 1e-7
    assert varies.float().mean() > 0.5
    # standard normal, if unbiased: a bias of a tenth of a gradient would show
    assert 0.8 < error[varies].std() < 1.2
    assert error[varies].abs().max() < 5.5
    assert (found.mean(0) - whole[1]).norm() < 0.1 * whole[1].norm()


def test_the_mean_of_the_rows_that_score_is_that_of_the_whole_graph():
    encoder = make(2).encoder
    batch = some_batch()
    rows = [
        encoder.of_batch(batch, torch.Generator().manual_seed(seed)).hidden.detach()
        for seed in range(300)
    ]
    found = torch.stack(rows)
    users, items = batch[0].unique(), torch.cat(batch[1:]).unique() + GRAPH.num_users
    expected = encoder.serve()[torch.cat([users, items])]
    error = (found.mean(0) - expected) / (found.std(0) / 300**0.5).clamp(min=1e-6)
    assert found.std(0).median() > 1e-3
    assert 0.8 < error.std() < 1.2
    assert error.abs().max() < 5.5


def test_entries_are_drawn_in_equal_parts_and_scaled():
    block = normalized_adjacency(GRAPH).to_items
    dense = block.to_dense()
    rows = torch.arange(GRAPH.num_items)
    total = torch.zeros_like(dense)
    for seed in range(400):
        drawn = draw_entries(block, rows, 4, torch.Generator().manual_seed(seed))
        count = drawn.begin.diff()
        assert torch.equal(count, torch.from_numpy(GRAPH.item_degree).clamp(max=4))
        row = torch.repeat_interleave(count)
        assert (dense[row, drawn.column] > 0).all()  # an entry of the row
        total.index_put_((row, drawn.column), drawn.value, accumulate=True)
    torch.testing.assert_close(total / 400, dense, atol=0.06, rtol=0)
    few = torch.from_numpy(GRAPH.item_degree <= 4)
    torch.testing.assert_close((total / 400)[few], dense[few], atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_processes", [2, 3])
def test_shares_add_up_to_the_batch(num_processes):
    model = make(3)
    loss, expected = gradient(model, 0)
    shares = [
        gradient(model, 0, Devices(torch.device("cpu"), rank, num_processes).share)
        for rank in range(num_processes)
    ]
    torch.testing.assert_close(sum(one for one, _ in shares), loss, atol=1e-6, rtol=0)
    torch.testing.assert_close(sum(one for _, one in shares), expected, atol=1e-7, rtol=1e-5)


def test_resumed_run_equals_the_uninterrupted_one(tmp_path):
    """An epoch of 8 steps begins between two snapshots."""

    def evaluate(user, item):
        return float((user @ item.T).std())

    def stop_in_epoch_3(record):
        if record["epoch"] == 3:
            raise Stopped

    whole = train(GRAPH, PARAMS, 0, evaluate)
    with pytest.raises(Stopped):
        train(GRAPH, PARAMS, 0, evaluate, checkpoint=tmp_path, on_epoch=stop_in_epoch_3)
    resumed = train(GRAPH, PARAMS, 0, evaluate, checkpoint=tmp_path)
    assert resumed.history == whole.history
    np.testing.assert_array_equal(resumed.user, whole.user)
    np.testing.assert_array_equal(resumed.item, whole.item)


def test_steps_do_not_depend_on_the_length_of_an_epoch():
    found = [
        train(GRAPH, PARAMS.model_copy(update={"steps": 12, "evaluate_every": every}), 0)
        for every in (3, 4)
    ]
    np.testing.assert_array_equal(found[0].user, found[1].user)


def test_large_graphs_alone_are_sampled():
    assert not PARAMS.model_copy(update={"max_whole_edges": len(GRAPH)}).samples(len(GRAPH))
    assert PARAMS.model_copy(update={"max_whole_edges": len(GRAPH) - 1}).samples(len(GRAPH))
    for other in ({"loss": "softmax"}, {"encoder": "lgconv"}):
        assert not PARAMS.model_copy(update=other).samples(len(GRAPH))


def test_a_sampled_training_ranks_as_well_as_a_whole_one(prepared):
    """One neighbour of each node, of at least 5: within a tenth of the whole graph's NDCG@20."""
    params = LightGCNSettings(
        embedding_dim=16,
        batch_size=128,
        steps=300,
        evaluate_every=50,
        learning_rate=0.02,
        sampled_neighbours=1,
        snapshot_every=20,
    )
    evaluate = embeddings_ndcg(prepared)
    best = []
    for edges in (10**6, 1):
        own = params.model_copy(update={"max_whole_edges": edges})
        model = train(prepared.train, own, 0, evaluate)
        best.append(max(record["valid"] for record in model.history))
    at_random = evaluate(
        *(np.random.default_rng(0).normal(size=(n, 4)) for n in (len(model.user), len(model.item)))
    )
    assert at_random < 0.65 * best[0]
    assert 0.9 < best[1] / best[0] < 1.1
