"""LightGCN: operator, gradients, sampler, training; each against a slow, obvious form."""

# U users, I items, N = U + I nodes
import subprocess
import sys
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from glta.data.interactions import Interactions
from glta.evaluation.validation import validation_ndcg
from glta.methods.lightgcn.spec import LightGCNSettings
from glta.nn.graph.encoders import LightGCNEncoder, initial_embedding
from glta.nn.graph.losses import (
    BLOCK,
    batch_loss,
    bpr_loss,
    log_sum_exp,
    pair_scores,
    softmax_loss,
    sum_of_squares,
)
from glta.nn.graph.node_embeddings import NodeEmbeddings, train
from glta.nn.graph.propagation import Adjacency, normalized_adjacency, propagate
from glta.nn.graph.ranker import Ranker, RankerTask, train_ranker
from glta.nn.graph.sampling import epoch_size, sample_epoch, sample_negatives
from glta.training.seeds import epoch_rng

SMALL = LightGCNSettings(
    embedding_dim=8, num_layers=2, batch_size=16, steps=45, evaluate_every=8, learning_rate=0.05
)


def random_graph(num_users=12, num_items=9, density=0.3, seed=0) -> Interactions:
    """Random pairs; user 0 has none, item 0 has none."""
    rng = np.random.default_rng(seed)
    present = rng.random((num_users, num_items)) < density
    present[0], present[:, 0] = False, False
    return Interactions.of(*np.nonzero(present), num_users, num_items)


def dense_adjacency(graph: Interactions) -> torch.Tensor:
    """D^-1/2 A D^-1/2 by its definition, (N, N) float64."""
    size = graph.num_users + graph.num_items
    adjacency = torch.zeros(size, size, dtype=torch.float64)
    adjacency[graph.user, graph.item + graph.num_users] = 1
    adjacency += adjacency.T.clone()
    scale = adjacency.sum(1).clamp(min=1).rsqrt()
    return scale[:, None] * adjacency * scale


def whole(adjacency: Adjacency) -> torch.Tensor:
    """Put the two blocks of an adjacency together, (N, N)."""
    return adjacency @ torch.eye(sum(adjacency.to_users.shape))


def plain_propagation(
    adjacency: torch.Tensor, embedding: torch.Tensor, num_layers: int
) -> torch.Tensor:
    """The mean over layers, layer by layer, left to autograd."""
    layers = [embedding]
    for _ in range(num_layers):
        layers.append(adjacency @ layers[-1])
    return torch.stack(layers).mean(0)


@pytest.fixture
def graph() -> Interactions:
    return random_graph()


def test_adjacency_is_the_definition(graph):
    adjacency = normalized_adjacency(graph)
    assert all(block.layout == torch.sparse_csr for block in adjacency)
    torch.testing.assert_close(whole(adjacency).double(), dense_adjacency(graph), atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", ["dense", "coo"])
@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_propagation_and_its_gradient_equal_autograds(graph, num_layers, form):
    start = initial_embedding(graph.num_users + graph.num_items, SMALL, 0)
    weight = torch.randn(start.shape, generator=torch.Generator().manual_seed(1))
    dense = dense_adjacency(graph).float()
    results = []
    for operator, adjacency in (
        (propagate, normalized_adjacency(graph)),
        (plain_propagation, dense if form == "dense" else dense.to_sparse_coo()),
    ):
        embedding = start.clone().requires_grad_()
        hidden = operator(adjacency, embedding, num_layers)
        (weight * hidden.sigmoid()).sum().backward()
        results.append((hidden.detach(), embedding.grad))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)


def test_propagated_embeddings_equal_torch_geometric(graph):
    from torch_geometric.nn import LightGCN as Reference

    start = initial_embedding(graph.num_users + graph.num_items, SMALL, 0)
    user, item = torch.from_numpy(graph.user), torch.from_numpy(graph.item) + graph.num_users
    reference = Reference(len(start), SMALL.embedding_dim, 3)
    with torch.no_grad():
        reference.embedding.weight.copy_(start)
        expected = reference.get_embedding(
            torch.stack([torch.cat([user, item]), torch.cat([item, user])])
        )
    users, items = start.split([graph.num_users, graph.num_items])
    ours = np.concatenate(NodeEmbeddings(users.numpy(), items.numpy(), 3).propagated(graph))
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-6)


def test_propagation_does_not_depend_on_the_number_of_threads():
    graph = random_graph(400, 300)
    start, results = initial_embedding(700, SMALL, 0), []
    threads = torch.get_num_threads()
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        results.append(propagate(normalized_adjacency(graph), start, 3))
    torch.set_num_threads(threads)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_nodes_without_edges_keep_a_share_of_layer_0(graph):
    start = initial_embedding(graph.num_users + graph.num_items, SMALL, 0)
    hidden = propagate(normalized_adjacency(graph), start, 3)
    for node in (0, graph.num_users):
        torch.testing.assert_close(hidden[node], start[node] / 4)


def test_bpr_loss_is_the_definition():
    positive, negative = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    torch.testing.assert_close(
        bpr_loss(positive, negative), -torch.sigmoid(positive - negative).log().mean()
    )


@pytest.mark.parametrize("count", [1, 7, BLOCK + 3])
def test_pair_scores_are_dot_products_and_their_gradient_is_autograds(count):
    generator = torch.Generator().manual_seed(count)
    own = torch.randn(50, 4, generator=generator, dtype=torch.float64).requires_grad_()
    plain = own.detach().clone().requires_grad_()
    left, right = torch.randint(
        40, (2, count), generator=generator
    )  # ten nodes without a pair, pairs of a node with itself
    weight = torch.randn(count, generator=generator, dtype=torch.float64)
    scores = pair_scores(own, left, right)
    torch.testing.assert_close(scores, (plain[left] * plain[right]).sum(1))
    (scores * weight).sum().backward()
    ((plain[left] * plain[right]).sum(1) * weight).sum().backward()
    torch.testing.assert_close(own.grad, plain.grad)
    assert not own.grad[40:].any()


@pytest.mark.parametrize("count", [3, 200])  # fewer than rows, and more: two ways to compute it
def test_sum_of_squares_counts_a_row_as_often_as_it_is_named(count):
    table = torch.randn(
        50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()
    plain = table.detach().clone().requires_grad_()
    nodes = torch.arange(count) % 40
    total = sum_of_squares(table, nodes)
    torch.testing.assert_close(total, plain[nodes].square().sum())
    (3 * total).backward()
    (3 * plain[nodes].square().sum()).backward()
    torch.testing.assert_close(table.grad, plain.grad)


@pytest.mark.parametrize("biased", [False, True])
def test_log_sum_exp_and_its_gradient_are_autograds(monkeypatch, biased):
    """In blocks of 64 rows, the last of which is shorter; scores of any size."""
    monkeypatch.setattr("glta.nn.graph.losses.TILE", 1)
    draw = torch.Generator().manual_seed(0)
    rows, candidates = (
        torch.randn(count, 4, generator=draw, dtype=torch.float64) * 20 for count in (150, 9)
    )
    weight = torch.rand(150, generator=draw, dtype=torch.float64)
    bias = torch.randn(9, generator=draw, dtype=torch.float64) if biased else None
    results = []
    for form in (
        log_sum_exp,
        lambda r, c, w, b: (w * (r @ c.T + (0 if b is None else b)).logsumexp(1)).sum(),
    ):
        leaves = [x.clone().requires_grad_() for x in (rows, candidates)]
        value = form(*leaves, weight, bias)
        (3 * value).backward()
        results.append((value.detach(), *(leaf.grad for leaf in leaves)))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain)
    assert torch.autograd.gradcheck(
        lambda r, c: log_sum_exp(r, c, weight[:70], bias),
        ((rows[:70] / 20).requires_grad_(), (candidates / 20).requires_grad_()),
    )
    assert log_sum_exp(rows[:0], candidates, weight[:0]) == 0


def test_softmax_loss_is_cross_entropy():
    draw = torch.Generator().manual_seed(0)
    user, positive = (torch.randint(count, (400,), generator=draw) for count in (30, 20))
    results = []
    for form in (
        lambda hidden: softmax_loss(hidden, user, positive, 30),
        lambda hidden: torch.nn.functional.cross_entropy(
            hidden[user] @ hidden[30:].T, positive, reduction="sum"
        ),
    ):
        leaf = torch.randn(50, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
        value = form(leaf)
        value.backward()
        results.append((value.detach(), leaf.grad))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


def test_softmax_over_a_large_catalogue_takes_little_memory():
    """All scores of the 8,192 triples and 40,000 items would take 1.3 GB, and autograd twice that.

    The peak is that of a process, so it needs one of its own.
    """
    program = """
import torch
from glta.nn.graph.losses import softmax_loss
def peak():
    return next(int(x.split()[1]) for x in open("/proc/self/status") if x[:6] == "VmHWM:") / 1024
hidden = torch.randn(48_192, 16).requires_grad_()
softmax_loss(hidden[:100], torch.arange(8), torch.arange(8), 20).backward()
before = peak()
softmax_loss(hidden, torch.arange(8192), torch.arange(8192), 8192).backward()
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 5 < float(done.stdout) < 100, done.stderr


def test_softmax_does_not_depend_on_the_number_of_threads():
    start = torch.randn(5000, 64, generator=torch.Generator().manual_seed(0))
    user, positive = torch.randint(2000, (2, 3000), generator=torch.Generator().manual_seed(1))
    threads, results = torch.get_num_threads(), []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        hidden = start.clone().requires_grad_()
        value = softmax_loss(hidden, user, positive, 2000)
        value.backward()
        results.append((value.detach(), hidden.grad))
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert torch.equal(results[0][0], other[0]) and torch.equal(results[0][1], other[1])


def test_gradients_do_not_depend_on_the_number_of_threads():
    start = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    left, right = torch.randint(500, (2, 20_000), generator=torch.Generator().manual_seed(1))
    threads, results = torch.get_num_threads(), []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        hidden = start.clone().requires_grad_()
        pair_scores(hidden, left, right).sigmoid().sum().backward()
        results.append(hidden.grad)
    torch.set_num_threads(threads)
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("sampling", ["user", "edge"])
def test_steps_go_through_one_pass_after_another(sampling):
    """An epoch of 4 steps begins and ends within a pass of 6; each pass is drawn as a whole."""
    graph = random_graph()
    params = SMALL.model_copy(update={"sampling": sampling, "evaluate_every": 4, "steps": 15})
    size = -(-epoch_size(graph, sampling) // 6)
    params = params.model_copy(update={"batch_size": size})
    model = Ranker(LightGCNEncoder(graph, params, 0), params)
    task = RankerTask(model, graph, 0, section="")
    assert params.epochs == 4
    epochs = [list(task.batches(epoch)) for epoch in (0, 1, 2, 3)]
    assert [len(batches) for batches in epochs] == [4, 4, 4, 3]
    found = [torch.cat(ids).numpy() for ids in zip(*chain(*epochs), strict=True)]
    drawn = [sample_epoch(graph, epoch_rng(0, number), sampling) for number in range(3)]
    assert {len(user) for user, _, _ in drawn} == {epoch_size(graph, sampling)}
    for ours, expected in zip(found, map(np.concatenate, zip(*drawn, strict=True)), strict=True):
        np.testing.assert_array_equal(ours, expected[: len(ours)])
    again = list(RankerTask(model, graph, 0, section="").batches(2))
    for one, other in zip(again, epochs[2], strict=True):
        assert all(map(torch.equal, one, other))


def test_what_is_dropped_does_not_depend_on_the_length_of_an_epoch():
    graph = random_graph()
    weights = []
    for every in (3, 4):
        params = SMALL.model_copy(update={"steps": 12, "evaluate_every": every})
        model = Ranker(LightGCNEncoder(graph, params, 0, keep=0.7), params)
        train_ranker(model, graph, 0, section="")
        weights.append(model.encoder.embedding.detach())
    assert torch.equal(*weights)


@pytest.mark.parametrize("by", ["user", "edge"])
def test_sampled_triples(graph, by):
    user, positive, negative = sample_epoch(graph, np.random.default_rng(0), by)
    assert len(user) == len(positive) == len(negative) == len(graph)
    assert graph.contains(user, positive).all()
    assert not graph.contains(user, negative).any()
    if by == "edge":
        np.testing.assert_array_equal(np.sort(user * graph.num_items + positive), graph.key)
    again = sample_epoch(graph, np.random.default_rng(0), by)
    assert all(np.array_equal(a, b) for a, b in zip((user, positive, negative), again, strict=True))


def spread(observed: np.ndarray, expected: float) -> float:
    """Pearson's statistic, as its probability under the uniform distribution."""
    return chi2.cdf(((observed - expected) ** 2 / expected).sum(), observed.size - 1)


def test_negatives_are_uniform_over_what_the_user_has_not(graph):
    """Too uniform would be wrong as well, so the statistic is bounded on both sides."""
    per_user = 4000
    user = np.repeat(np.arange(graph.num_users), per_user)
    negative = sample_negatives(graph, user, np.random.default_rng(1))
    chance = []
    for one in range(graph.num_users):
        others = np.setdiff1d(np.arange(graph.num_items), graph.items_of(one))
        counts = np.bincount(negative[user == one], minlength=graph.num_items)
        assert counts.sum() == counts[others].sum() == per_user
        chance.append(spread(counts[others], per_user / others.size))
    assert min(chance) > 1e-4
    assert max(chance) < 1 - 1e-4


def test_user_mode_draws_users_and_their_items_uniformly(graph):
    rng = np.random.default_rng(2)
    triples = [sample_epoch(graph, rng, "user") for _ in range(600)]
    user, positive = (np.concatenate([t[i] for t in triples]) for i in (0, 1))
    usable = np.flatnonzero(graph.user_degree)
    counts = np.bincount(user, minlength=graph.num_users)
    assert counts[graph.user_degree == 0].sum() == 0
    assert 1e-4 < spread(counts[usable], user.size / usable.size) < 1 - 1e-4
    busy = int(graph.user_degree.argmax())
    mine = np.bincount(positive[user == busy], minlength=graph.num_items)[graph.items_of(busy)]
    assert 1e-4 < spread(mine, mine.sum() / mine.size) < 1 - 1e-4


def test_users_with_every_item_are_left_out():
    graph = Interactions.of([0, 0, 0, 1], [0, 1, 2, 1], 2, 3)
    for by in ("user", "edge"):
        assert set(sample_epoch(graph, np.random.default_rng(0), by)[0]) == {1}
    with pytest.raises(ValueError, match="nothing to train on"):
        sample_epoch(Interactions.of([0, 0], [0, 1], 1, 2), np.random.default_rng(0))
    with pytest.raises(ValueError, match="sampling must be"):
        sample_epoch(graph, np.random.default_rng(0), "item")


def plain_loss(embedding, adjacency, batch, num_users, params):
    """The loss by its definition, with indexing and autograd."""
    user, positive, negative = batch
    hidden = plain_propagation(adjacency, embedding, params.num_layers)
    users, items = hidden[:num_users], hidden[num_users:]
    score = users[user] @ items.T
    of = torch.arange(len(user))
    if params.loss == "bpr":
        rank = -torch.sigmoid(score[of, positive] - score[of, negative]).log().mean()
    else:
        rank = -(score[of, positive] - score.logsumexp(1)).mean()
    used = [embedding[user], embedding[num_users + positive]]
    used += [embedding[num_users + negative]] if params.loss == "bpr" else []
    penalty = sum(rows.pow(2).sum() for rows in used) / 2 / len(user)
    return rank + params.l2 * penalty, rank


def our_loss(embedding, adjacency, batch, num_users, params):
    return batch_loss(
        propagate(adjacency, embedding, params.num_layers), embedding, batch, num_users, params
    )


@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_twenty_steps_equal_the_plain_form(loss):
    graph = random_graph(30, 20)
    params = SMALL.model_copy(update={"loss": loss, "l2": 0.01})
    triples = sample_epoch(graph, np.random.default_rng(0), "edge")
    histories = []
    for step_loss, adjacency in (
        (our_loss, normalized_adjacency(graph)),
        (plain_loss, dense_adjacency(graph).float()),
    ):
        embedding = torch.nn.Parameter(initial_embedding(50, params, 0))
        optimizer = torch.optim.Adam([embedding], lr=0.05)
        history = []
        for step in range(20):
            picked = np.random.default_rng(step).integers(0, len(triples[0]), 16)
            batch = tuple(torch.from_numpy(ids[picked]) for ids in triples)
            total, rank = step_loss(embedding, adjacency, batch, 30, params)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            history.append([total.item(), rank.item()])
        histories.append(history)
    np.testing.assert_allclose(*histories, rtol=1e-4)
    assert histories[0][-1] < histories[0][0]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("sampling", ["user", "edge"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_resumed_run_equals_the_uninterrupted_one(tmp_path, sampling, schedule):
    graph = random_graph()
    params = SMALL.model_copy(update={"sampling": sampling, "schedule": schedule})

    def evaluate(user, item):
        return float((user @ item.T).std())

    def stop_in_epoch_3(record):
        if record["epoch"] == 3:
            raise Stopped

    whole = train(graph, params, 0, evaluate)
    with pytest.raises(Stopped):
        train(graph, params, 0, evaluate, checkpoint=tmp_path, on_epoch=stop_in_epoch_3)
    seen = []
    resumed = train(graph, params, 0, evaluate, checkpoint=tmp_path, on_epoch=seen.append)
    assert resumed.history == whole.history == seen
    assert resumed.best_epoch == whole.best_epoch
    np.testing.assert_array_equal(resumed.user, whole.user)
    np.testing.assert_array_equal(resumed.item, whole.item)
    finished = train(graph, params, 0, evaluate, checkpoint=tmp_path)
    np.testing.assert_array_equal(finished.item, whole.item)


def test_stops_early_and_returns_the_best_epoch():
    graph = random_graph()
    values = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    params = SMALL.model_copy(update={"steps": 500, "evaluate_every": 10, "patience": 2})
    model = train(graph, params, 0, lambda user, item: next(values))
    assert [record["valid"] for record in model.history] == [0.1, 0.3, 0.2, 0.3]
    assert model.best_epoch == 1
    short = train(graph, params.model_copy(update={"steps": 20}), 0)
    np.testing.assert_array_equal(model.user, short.user)


def test_cosine_moves_the_rate_of_every_step():
    graph = random_graph()
    params = SMALL.model_copy(update={"steps": 40, "evaluate_every": 1, "patience": 99})
    seen: list[np.ndarray] = []

    def evaluate(user, item):
        seen.append(item)
        return 0.0

    def moves(schedule: str) -> np.ndarray:
        seen.clear()
        train(graph, params.model_copy(update={"schedule": schedule}), 0, evaluate)
        return np.array([np.abs(b - a).mean() for a, b in pairwise(seen)])

    constant, cosine = moves("constant"), moves("cosine")
    # the embeddings of one step to the next: as far as the rates say, in the middle and at the end
    assert 0.3 < cosine[20] / constant[20] < 0.8
    assert cosine[-1] / constant[-1] < 0.02


def test_serves_from_the_graph_it_is_given():
    graph, serve, seen = random_graph(), random_graph(seed=9), []
    params = SMALL.model_copy(update={"steps": 5})
    model = train(
        graph, params, 0, lambda user, item: seen.append((user, item)) or 0.0, serve=serve
    )
    for ours, expected in zip(seen[0], model.propagated(serve), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_divergence_is_explained():
    params = SMALL.model_copy(update={"init_std": 1e30})
    with pytest.raises(ValueError, match=r"settings\.lightgcn\.learning_rate"):
        train(random_graph(), params, 0)


@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_learns_the_block_pattern(prepared, loss):
    params = LightGCNSettings(
        embedding_dim=8,
        num_layers=2,
        learning_rate=0.05,
        steps=100,
        evaluate_every=10,
        batch_size=64,
        loss=loss,
    )
    scores = {}
    for edges in (prepared.train, prepared.graph):
        model = train(edges, params, 0)
        user, item = model.propagated(prepared.train)
        scores[len(edges)] = validation_ndcg(prepared, lambda users, u=user, i=item: u[users] @ i.T)
        assert model.history[-1]["loss"] < model.history[0]["loss"]
    assert (
        min(scores.values()) > 0.75
    )  # a user's block has two items left, either may come first: 0.82 on average
