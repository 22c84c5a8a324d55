"""Terms and encoders of the rivals: values and gradients against forms worked out by hand in
numpy.
"""

# U users, I items, N = U + I nodes, D embedding width, W language width
import numpy as np
import pytest
import torch

from glta.nn.graph.encoders import HypergraphEncoder, LightGCNEncoder, MaskedEncoder
from glta.nn.graph.losses import info_nce
from glta.nn.graph.propagation import EdgeDropout, multiply, normalized_adjacency
from glta.nn.graph.ranker import Ranker
from glta.nn.graph.settings import GraphTraining
from glta.nn.graph.terms import LocalGlobal, ProfileContrast, Reconstruction, TextContrast
from tests.nn.graph.test_lightgcn import dense_adjacency, random_graph, whole

U, N, D, W, TEMPERATURE, WEIGHT = 12, 21, 4, 6, 0.3, 0.7
PARAMS = GraphTraining(embedding_dim=D, num_layers=2, l2=0.01, init_std=1.0)
BATCH = tuple(
    torch.tensor(ids) for ids in ([3, 5, 3, 7], [2, 4, 4, 1], [6, 6, 8, 3])
)  # with repeated ids
USERS, POSITIVES, NEGATIVES = (ids.numpy() for ids in BATCH)


@pytest.fixture
def graph():
    return random_graph(U, N - U)


@pytest.fixture
def states() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(N, W)).astype(np.float32)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def nce(
    anchor: np.ndarray, positive: np.ndarray, candidates: np.ndarray
) -> tuple[float, np.ndarray]:
    """InfoNCE by its definition, and its gradient with respect to the anchors.

    d cos(a, c) / da = (c' - cos(a, c) a') / |a| with a', c' of length 1; the softmax's weights p
    then give (sum_m p_m c'_m - c'_positive) / temperature in place of c'.
    """
    size = np.linalg.norm(anchor, axis=1, keepdims=True)
    a, p, c = unit(anchor), unit(positive), unit(candidates)
    share = np.exp(a @ c.T / TEMPERATURE)
    value = -np.log(np.exp((a * p).sum(1) / TEMPERATURE) / share.sum(1)).mean()
    share /= share.sum(1, keepdims=True)
    towards = (share @ c - p) / TEMPERATURE
    return value, (towards - (towards * a).sum(1, keepdims=True) * a) / size / len(a)


def mapped(maps: torch.nn.Sequential, rows: np.ndarray) -> np.ndarray:
    """Two layers with LeakyReLU of slope 0.01."""
    first, second = (
        (m.weight.detach().numpy(), m.bias.detach().numpy()) for m in (maps[0], maps[2])
    )
    middle = rows @ first[0].T + first[1]
    return np.where(middle > 0, middle, 0.01 * middle) @ second[0].T + second[1]


def gradient_of(model: Ranker) -> np.ndarray:
    """Of the whole loss, at layer 0."""
    model.zero_grad()
    model.loss(BATCH, draws())[0].backward()
    return model.encoder.embedding.grad.numpy().copy()


def operator(graph) -> np.ndarray:
    """LightGCN's map from layer 0 to the embeddings that score; it is symmetric, so it maps
    gradients back as well.
    """
    adjacency = dense_adjacency(graph).numpy()
    return (np.eye(N) + adjacency + adjacency @ adjacency) / 3


def text_contrast(states, users: bool) -> TextContrast:
    user = torch.from_numpy(states[:U]) if users else None
    return TextContrast(torch.from_numpy(states[U:]), user, U, D, TEMPERATURE, 0)


def profile_contrast(states) -> ProfileContrast:
    return ProfileContrast(torch.from_numpy(states), U, D, TEMPERATURE, 0)


def test_info_nce_and_its_gradient_are_the_definition():
    rng = np.random.default_rng(0)
    anchor, candidates = rng.normal(size=(5, D)), rng.normal(size=(8, D))
    leaf = torch.from_numpy(anchor).requires_grad_()
    loss = info_nce(
        leaf, torch.from_numpy(candidates[:5]), torch.from_numpy(candidates), TEMPERATURE
    )
    loss.backward()
    value, gradient = nce(anchor, candidates[:5], candidates)
    assert loss.item() == pytest.approx(value)
    np.testing.assert_allclose(leaf.grad.numpy(), gradient, atol=1e-12)


@pytest.mark.parametrize("term", ["lightgcn-plus", "lightgcn-plus with users", "rlmrec-con"])
def test_text_terms_change_lightgcns_gradient_by_theirs_alone(graph, states, term):
    """With weight 0 the gradient is LightGCN's to the last bit; else it differs by the term's,
    worked out by hand.
    """

    def module():
        return (
            profile_contrast(states)
            if term == "rlmrec-con"
            else text_contrast(states, "users" in term)
        )

    plain = gradient_of(Ranker(LightGCNEncoder(graph, PARAMS, 0), PARAMS))
    silent = gradient_of(
        Ranker(LightGCNEncoder(graph, PARAMS, 0), PARAMS, {"text": (0.0, module())})
    )
    np.testing.assert_array_equal(silent, plain)
    model = Ranker(LightGCNEncoder(graph, PARAMS, 0), PARAMS, {"text": (WEIGHT, module())})
    found = gradient_of(model)

    propagation = operator(graph)
    hidden = propagation @ model.encoder.embedding.detach().numpy()
    projected = mapped(model.terms["text"].map, states)
    if term == "rlmrec-con":
        sides = [
            (USERS, np.arange(U)),
            (POSITIVES + U, POSITIVES + U),
            (NEGATIVES + U, NEGATIVES + U),
        ]
    else:
        sides = [(np.unique(POSITIVES) + U,) * 2] + [(np.unique(USERS),) * 2] * ("users" in term)
    total, expected = 0.0, np.zeros((N, D))
    for anchors, candidates in sides:
        value, gradient = nce(hidden[anchors], projected[anchors], projected[candidates])
        total += value
        np.add.at(expected, anchors, gradient)
    assert model.loss(BATCH, draws())[1]["text"].item() == pytest.approx(total, rel=1e-5)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found - plain, WEIGHT * propagation @ expected, atol=1e-6)


def test_masked_pass_and_its_reconstruction_are_worked_out_by_hand(graph, states):
    """RLMRec-Gen: masked nodes start from one vector, and their texts are told from what reaches
    them.
    """

    def ranker(weight: float) -> Ranker:
        term = Reconstruction(torch.from_numpy(states), D, TEMPERATURE, 0)
        model = Ranker(
            MaskedEncoder(graph, PARAMS, 0, 1.0, 0.3), PARAMS, {"reconstruction": (weight, term)}
        )
        with torch.no_grad():
            model.encoder.mask.copy_(torch.tensor([0.5, -1.0, 2.0, 0.1]))
        return model

    model = ranker(WEIGHT)
    encoded = model.encoder(draws())
    masked = encoded.masked.numpy()
    assert len(set(masked)) == len(masked) == round(0.3 * N)
    layer0 = model.encoder.embedding.detach().numpy().copy()
    layer0[masked] = [0.5, -1.0, 2.0, 0.1]
    hidden = operator(graph) @ layer0
    np.testing.assert_allclose(encoded.hidden.detach().numpy(), hidden, atol=1e-6)
    np.testing.assert_allclose(
        np.concatenate(model.embeddings()),
        operator(graph) @ model.encoder.embedding.detach().numpy(),
        atol=1e-6,
    )  # nothing is masked for ranking

    maps = model.terms["reconstruction"].map
    value, at_text = nce(mapped(maps, hidden[masked]), states[masked], states[masked])
    assert model.loss(BATCH, draws())[1]["reconstruction"].item() == pytest.approx(value, rel=1e-5)
    first, second = (m.weight.detach().numpy() for m in (maps[0], maps[2]))
    middle = hidden[masked] @ first.T + maps[0].bias.detach().numpy()
    at_hidden = np.zeros((N, D))
    at_hidden[masked] = at_text @ second * np.where(middle > 0, 1, 0.01) @ first
    at_layer0 = WEIGHT * operator(graph) @ at_hidden
    at_layer0[masked] = 0  # their own embeddings were not seen
    assert np.abs(at_layer0).max() > 1e-3
    np.testing.assert_allclose(gradient_of(model) - gradient_of(ranker(0.0)), at_layer0, atol=1e-6)


def hccf_by_hand(encoder: HypergraphEncoder, graph, activation: bool):
    """Local and global layers and their sum, dense and node by node of the formula, in float64
    autograd.
    """
    leaves = [p.detach().double().requires_grad_() for p in encoder.parameters()]
    embedding, user_edges, item_edges = leaves
    act = torch.nn.LeakyReLU(0.5) if activation else torch.nn.Identity()
    hyper = torch.block_diag(
        embedding[:U] @ user_edges, embedding[U:] @ item_edges
    )  # users and items share no hyperedge
    layers, views = [embedding], []
    for _ in range(PARAMS.num_layers):
        local = dense_adjacency(graph) @ layers[-1]
        wide = act(hyper @ act(hyper.T @ layers[-1]))
        views.append((local, wide))
        layers.append(local + wide)
    return leaves, torch.stack(layers).sum(0), views


@pytest.mark.parametrize("weight", [0.0, WEIGHT])
@pytest.mark.parametrize("activation", [False, True])
def test_hccf_is_the_definition(graph, activation, weight):
    params = PARAMS.model_copy(update={"init_std": 0.3})  # its scores grow with the cube
    encoder = HypergraphEncoder(graph, params, 0, 1.0, 5, activation)
    model = Ranker(encoder, PARAMS, {"contrast": (weight, LocalGlobal(U, TEMPERATURE))})
    total, parts = model.loss(BATCH, draws())
    total.backward()

    (embedding, *edges), hidden, views = hccf_by_hand(encoder, graph, activation)
    users, items = hidden[:U], hidden[U:]
    margin = (users[USERS] * (items[POSITIVES] - items[NEGATIVES])).sum(1)
    contrast = 0
    for local, wide in views:
        for nodes in (np.unique(USERS), np.unique(POSITIVES) + U):
            a, b = (torch.nn.functional.normalize(x[nodes], dim=1) for x in (local.detach(), wide))
            share = torch.softmax(a @ b.T / TEMPERATURE, 1)
            contrast = contrast - share.diagonal().log().mean()
    used = [embedding[USERS], embedding[POSITIVES + U], embedding[NEGATIVES + U]]
    penalty = sum(rows.square().sum() for rows in used) / 2 / len(USERS)
    expected = -torch.sigmoid(margin).log().mean() + PARAMS.l2 * penalty + weight * contrast
    expected.backward()

    np.testing.assert_allclose(
        np.concatenate(model.embeddings()), hidden.detach().numpy(), rtol=1e-4, atol=1e-5
    )
    assert parts["contrast"].item() == pytest.approx(contrast.item(), rel=1e-4)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    for ours, plain in zip(encoder.parameters(), (embedding, *edges), strict=True):
        scale = plain.grad.abs().max().item()
        assert scale > 1e-4
        np.testing.assert_allclose(ours.grad.numpy(), plain.grad.numpy(), atol=1e-4 * scale)


def test_sparse_hccf_is_the_definition(graph):
    """The dimensions of layer 0 are the hyperedges, and views are those of layers 0 to L - 1."""
    factor = 0.4
    encoder = HypergraphEncoder(graph, PARAMS, 0, 1.0, 5, activation=True, mult=factor)
    assert [name for name, _ in encoder.named_parameters()] == ["embedding"]
    encoded = encoder(draws())
    start = encoder.embedding.detach().double()
    hyper = factor * torch.block_diag(start[:U], start[U:])
    layers, views = [start], [(start, start)]
    for _ in range(PARAMS.num_layers):
        local = dense_adjacency(graph) @ layers[-1]
        views.append((local, hyper @ (hyper.T @ layers[-1])))
        layers.append(sum(views[-1]))
    expected = torch.stack(layers).sum(0).float()
    torch.testing.assert_close(encoded.hidden, expected, rtol=1e-4, atol=1e-4)
    assert len(encoded.views) == PARAMS.num_layers
    for found, view in zip(encoded.views, views[:-1], strict=True):
        for one, other in zip(found, view, strict=True):
            torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-4)
    dropping = HypergraphEncoder(graph, PARAMS, 0, 0.5, 5, mult=factor)
    dropping.adjacency = dropping.edges.adjacency = normalized_adjacency(graph)
    wide = dropping(draws()).views[1][1]
    torch.testing.assert_close(dropping(draws(1)).views[0][1], encoder.embedding)
    assert torch.equal(wide, encoded.views[1][1])  # edges are dropped, entries of H are not


def test_contrast_moves_the_global_view_alone(graph):
    encoder = HypergraphEncoder(graph, PARAMS, 0, 1.0, 5)
    local, wide = (torch.randn(N, D, generator=draws(seed), requires_grad=True) for seed in (1, 2))
    LocalGlobal(U, TEMPERATURE)(encoder(None)._replace(views=((local, wide),)), BATCH).backward()
    assert local.grad is None
    assert wide.grad.abs().max() > 0


def test_product_and_its_gradient_equal_autograds(graph):
    embedding, weight = (torch.randn(N, D, generator=draws(seed)) for seed in (0, 1))
    results = []
    for product in (
        lambda e: multiply(normalized_adjacency(graph), e),
        lambda e: dense_adjacency(graph).float() @ e,
    ):
        leaf = embedding.clone().requires_grad_()
        out = product(leaf)
        (weight * out.sigmoid()).sum().backward()
        results.append((out.detach(), leaf.grad))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rescale", [False, True])
def test_dropped_edges_go_both_ways(rescale):
    graph = random_graph(60, 40)
    full = normalized_adjacency(graph)
    dropout, generator = EdgeDropout(graph, full, 0.7, rescale), draws()
    first, second = (whole(dropout(generator)) for _ in range(2))
    assert not torch.equal(first, second)
    torch.testing.assert_close(first, first.T)
    kept = first != 0
    torch.testing.assert_close(first[kept], whole(full)[kept] / (0.7 if rescale else 1))
    share = kept.sum().item() / 2 / len(graph)
    assert abs(share - 0.7) < 4 * np.sqrt(0.7 * 0.3 / len(graph))


def test_training_drops_edges_and_ranking_none(graph):
    keeping, dropping = (LightGCNEncoder(graph, PARAMS, 0, keep) for keep in (1.0, 0.5))
    assert torch.equal(keeping.serve(), dropping.serve())
    assert torch.equal(keeping(draws()).hidden, keeping.serve())
    assert not torch.equal(dropping(draws()).hidden, dropping.serve())
    hypergraph = HypergraphEncoder(graph, PARAMS, 0, 0.5, 5)
    assert torch.equal(hypergraph.serve(), hypergraph.serve())
    assert not torch.equal(hypergraph(draws()).hidden, hypergraph.serve())


@pytest.mark.parametrize("keep", [1e-6, 0.3, 0.8, 0.999999])
def test_hyperedges_are_dropped_at_random_and_the_rest_makes_up_for_it(graph, keep):
    encoder = HypergraphEncoder(graph, PARAMS, 0, keep, 5)
    ones, generator = torch.ones(401, 501), draws()
    first, second = (encoder._dropped(ones, generator) for _ in range(2))
    for dropped in (first, second):
        assert ((dropped == 0) | (dropped == torch.tensor(1.0) / keep)).all()
        spread = np.sqrt(keep * (1 - keep) / ones.numel())
        assert abs((dropped > 0).double().mean().item() - keep) < 5 * spread + 2**-16
    if 0.1 < keep < 0.9:
        assert not torch.equal(first, second)
        share = torch.stack(
            [(first > 0).flatten()[start::4].double().mean() for start in range(4)]
        )  # of each word's quarters
        assert (share - keep).abs().max() < 5 * np.sqrt(keep * (1 - keep) / ones.numel() * 4)
