"""LightGCN: operator, gradients, sampler, training; each against a slow, obvious form."""

# U users, I items, N = U + I nodes
import numpy as np
import pytest
import torch
from scipy.stats import chi2

from glta.data.interactions import Interactions
from glta.evaluation.validation import validation_ndcg
from glta.methods.lightgcn.spec import LightGCNSettings
from glta.nn.graph.encoders import initial_embedding
from glta.nn.graph.losses import BLOCK, batch_loss, bpr_loss, pair_scores, sum_of_squares
from glta.nn.graph.node_embeddings import NodeEmbeddings, train
from glta.nn.graph.propagation import Adjacency, normalized_adjacency, propagate
from glta.nn.graph.sampling import sample_epoch, sample_negatives

SMALL = LightGCNSettings(embedding_dim=8, num_layers=2, batch_size=16, epochs=6, learning_rate=0.05)


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
def test_resumed_run_equals_the_uninterrupted_one(tmp_path, sampling):
    graph, params = (
        random_graph(),
        SMALL.model_copy(update={"sampling": sampling, "evaluate_every": 2}),
    )

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
    params = SMALL.model_copy(update={"epochs": 50, "evaluate_every": 1, "patience": 2})
    model = train(graph, params, 0, lambda user, item: next(values))
    assert [record["valid"] for record in model.history] == [0.1, 0.3, 0.2, 0.3]
    assert model.best_epoch == 1
    short = train(graph, params.model_copy(update={"epochs": 2}), 0)
    np.testing.assert_array_equal(model.user, short.user)


def test_serves_from_the_graph_it_is_given():
    graph, serve, seen = random_graph(), random_graph(seed=9), []
    params = SMALL.model_copy(update={"epochs": 1, "evaluate_every": 1})
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
        embedding_dim=8, num_layers=2, learning_rate=0.05, epochs=30, batch_size=64, loss=loss
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
