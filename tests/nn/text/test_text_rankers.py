"""Losses and forms of the maps of text states, against loops and plain formulas."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.nn.graph.losses import log_sum_exp
from glta.nn.text import candidates
from glta.nn.text.candidates import Candidates, candidate_loss
from glta.nn.text.settings import TextTraining
from glta.nn.text.state_map import StateMap, mapped_rows
from glta.nn.text.text_rankers import AlphaRanker, LeaveOneOutRanker, MappedItems, PropagatedText

STATES = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
# user 3 has one item, user 4 none, and nobody has item 8
PAIRS = Interactions.of([0, 0, 0, 1, 1, 2, 2, 2, 2, 3], [0, 1, 5, 1, 2, 3, 4, 6, 7, 5], 5, 9)
BATCH = tuple(torch.from_numpy(ids) for ids in (PAIRS.user, PAIRS.item, PAIRS.item))
LINEAR = TextTraining(map="linear", embedding_dim=3, temperature=0.3, weight_decay=0)
MLP = TextTraining(map="mlp", hidden_dim=4, embedding_dim=3, temperature=0.3, weight_decay=0)


def left_out(params: TextTraining) -> LeaveOneOutRanker:
    return LeaveOneOutRanker(MappedItems(PAIRS, STATES, params, seed=1), params, PAIRS)


def alpha(params: TextTraining, negatives: int, num_layers: int = 2) -> AlphaRanker:
    encoder = PropagatedText(PAIRS, STATES, params, num_layers, seed=1)
    return AlphaRanker(encoder, params, PAIRS, negatives)


def loss_of(model, share=None) -> torch.Tensor:
    more = (share,) if share else ()
    return model.loss(BATCH, torch.Generator().manual_seed(5), *more)[0]


def gradients(model, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def assert_same(model, found: torch.Tensor, expected: torch.Tensor) -> None:
    """The loss, and its gradient in every weight."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for one, other in zip(gradients(model, found), gradients(model, expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("params", [LINEAR, MLP], ids=["linear", "mlp"])
def test_leave_one_out_equals_a_loop(params):
    model = left_out(params)
    mapped = model.encoder.map(torch.from_numpy(STATES))
    losses = []
    for user, target in zip(PAIRS.user, PAIRS.item, strict=True):
        others = [item for item in PAIRS.items_of(user) if item != target]
        if not others:
            continue
        mean = mapped[others].mean(0)
        rivals = [item for item in range(9) if item not in others]
        logits = F.cosine_similarity(mean[None], mapped[rivals]) / params.temperature
        losses.append(-logits.log_softmax(0)[rivals.index(target)])
    assert len(losses) == 9
    assert_same(model, loss_of(model), torch.stack(losses).mean())


def test_the_target_is_no_part_of_its_users_vector():
    model = left_out(MLP)
    mapped = model.encoder.items().detach().requires_grad_()
    others = model.others(mapped, BATCH[0], BATCH[1])
    for row, (user, target) in enumerate(zip(PAIRS.user, PAIRS.item, strict=True)):
        (grad,) = torch.autograd.grad(others[row].sum(), mapped, retain_graph=True)
        used = set(np.flatnonzero(grad.abs().sum(1) > 1e-6).tolist())
        assert used == set(PAIRS.items_of(user).tolist()) - {target}


@pytest.mark.parametrize("num_layers", [0, 2])
@pytest.mark.parametrize(("negatives", "few"), [(0, 50), (6, 50), (6, 1)])
def test_alpharec_is_the_published_formula(negatives, few, num_layers, monkeypatch):
    """With a dense adjacency matrix, and a loop over pairs. few: 1 gathers the sample."""
    monkeypatch.setattr(candidates, "FEW", few)
    model = alpha(MLP, negatives, num_layers)
    history = torch.from_numpy(history_matrix(PAIRS).toarray())
    states = torch.from_numpy(STATES)
    user_states = history @ states / history.sum(1, keepdim=True).clamp(min=1)
    weights = model.encoder.map.layers
    hidden = F.leaky_relu(
        torch.cat([user_states, states]) @ weights["weight0"].T + weights["bias0"]
    )
    layer = hidden @ weights["weight1"].T + weights["bias1"]
    full = torch.zeros(14, 14)
    full[:5, 5:] = history
    full += full.T.clone()
    scale = full.sum(1).clamp(min=1).rsqrt()
    layers = [layer]
    for _ in range(num_layers):
        layers.append(scale[:, None] * full * scale @ layers[-1])
    nodes = torch.stack(layers).mean(0)
    drawn = torch.randint(9, (10, max(negatives, 1)), generator=torch.Generator().manual_seed(5))
    losses = []
    for place, (user, target) in enumerate(zip(PAIRS.user, PAIRS.item, strict=True)):
        among = drawn[place].tolist() if negatives else range(9)
        rivals = [item for item in among if item not in PAIRS.items_of(user)]
        score = F.cosine_similarity(
            nodes[user][None], nodes[[5 + target, *(5 + r for r in rivals)]]
        )
        top = (score[0] / MLP.temperature).exp()
        losses.append(-(top / (top + (score[1:] / MLP.temperature).exp().sum())).log())
    assert_same(model, loss_of(model), torch.stack(losses).mean())


@pytest.mark.parametrize(
    ("model", "few"),
    [(left_out(MLP), 50), (alpha(MLP, 0), 50), (alpha(MLP, 6), 50), (alpha(MLP, 6), 1)],
)
def test_shares_add_up_to_the_batch(model, few, monkeypatch):
    monkeypatch.setattr(candidates, "FEW", few)
    model.params = MLP.model_copy(update={"weight_decay": 0.5})
    parts = [loss_of(model, lambda n, s=s: s) for s in (slice(0, 3), slice(3, 3), slice(3, 10))]
    assert_same(model, sum(parts), loss_of(model))


@pytest.mark.parametrize("tile", [2**20, 20])  # one block of rows, and several
def test_of_a_small_sample_no_other_items_are_scored(tile, monkeypatch):
    rng = torch.Generator().manual_seed(2)
    user, positive = BATCH[:2]
    train = Interactions.of(PAIRS.user, PAIRS.item, 5, 400)
    # drawn are items that the user has, the positive among them, and one item twice
    sampled = torch.randint(400, (len(user), 7), generator=rng)
    sampled[:, :3] = torch.randint(8, (len(user), 3), generator=rng)
    sampled[:, 3] = positive
    sampled[:, 4] = sampled[:, 5]
    rows = torch.randn(len(user), 5, generator=rng, requires_grad=True)
    items = torch.randn(400, 5, generator=rng, requires_grad=True)
    weight, bias = torch.rand(len(user), generator=rng), torch.rand(400, generator=rng)
    widths = []

    def counted(*args, **more) -> torch.Tensor:
        widths.append(len(args[1]))
        return log_sum_exp(*args, **more)

    monkeypatch.setattr(candidates, "log_sum_exp", counted)
    monkeypatch.setattr(candidates, "TILE", tile)

    def found(few: int) -> list[torch.Tensor]:
        monkeypatch.setattr(candidates, "FEW", few)
        among = Candidates(train, user, positive, sampled)
        loss = candidate_loss(rows, items, among, weight, bias)
        return [loss, *torch.autograd.grad(loss, (rows, items))]

    gathered = found(50)
    assert not widths
    for one, other in zip(gathered, found(400), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert widths == [400]


def test_users_without_training_items_have_every_sampled_item():
    nobody = Interactions.of([], [], 2, 400)
    user, positive = torch.tensor([0, 1]), torch.tensor([5, 6])
    sampled = torch.tensor([[5, 7], [8, 8]])
    rows, items = torch.randn(2, 3), torch.randn(400, 3)
    loss = candidate_loss(rows, items, Candidates(nobody, user, positive, sampled), torch.ones(2))
    scores = rows @ items.T
    expected = -scores[0, [5, 7]].log_softmax(0)[0] - scores[1, [6, 8, 8]].log_softmax(0)[0]
    torch.testing.assert_close(loss, expected)


def test_weight_decay_is_added_to_the_gradient():
    plain, decayed = left_out(MLP), left_out(MLP.model_copy(update={"weight_decay": 0.5}))
    found = gradients(decayed, loss_of(decayed))
    for weight, one, other in zip(
        plain.parameters(), gradients(plain, loss_of(plain)), found, strict=True
    ):
        torch.testing.assert_close(other, one + 0.5 * weight, rtol=1e-5, atol=1e-6)


def test_the_linear_map_has_no_bias_and_the_mlp_has_two():
    linear, mlp = StateMap.sized(LINEAR, 6, 0), StateMap.sized(MLP, 6, 0)
    assert {name: tuple(a.shape) for name, a in linear.arrays().items()} == {"weight0": (3, 6)}
    assert {name: tuple(a.shape) for name, a in mlp.arrays().items()} == {
        "weight0": (4, 6),
        "bias0": (4,),
        "weight1": (3, 4),
        "bias1": (3,),
    }
    nothing = np.zeros((1, 6), np.float32)
    assert (mapped_rows(linear.arrays(), nothing) == 0).all()
    assert (mapped_rows(mlp.arrays(), nothing) != 0).all()
    np.testing.assert_allclose(
        mapped_rows(mlp.arrays(), STATES), mlp(torch.from_numpy(STATES)).detach(), atol=1e-6
    )


def test_weights_start_within_the_limits_of_their_input():
    arrays = StateMap((400, 300, 64), seed=3).arrays()
    for layer, width in (("0", 400), ("1", 300)):
        for name in ("weight", "bias"):
            limit = 1 / math.sqrt(width)
            assert 0.9 * limit < np.abs(arrays[name + layer]).max() <= limit
    assert (StateMap((400, 300, 64), seed=4).arrays()["weight0"] != arrays["weight0"]).all()
