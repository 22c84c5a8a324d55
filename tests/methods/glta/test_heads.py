"""The logits-matching head: its two forms, and the start that is solved for."""

import numpy as np
import pytest
import torch

from glta.methods.glta.heads import FreeHead, Space, TiedHead, matched

WIDTH, NUM_ITEMS, RANK, FEATURES = 12, 40, 5, 6


def draw(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def make(kind: str, width=WIDTH, num_items=NUM_ITEMS):
    generator = torch.Generator().manual_seed(0)
    return (
        TiedHead(width, num_items, RANK, generator)
        if kind == "tied"
        else FreeHead(width, num_items, generator)
    )


@pytest.mark.parametrize("kind", ["free", "tied"])
def test_factors_give_the_logits(kind):
    head, states, tokens = make(kind), 3 + 2 * draw(7, 3, WIDTH), draw(NUM_ITEMS, WIDTH, seed=1)
    head.calibrate(states)
    with torch.no_grad():
        head.bias.copy_(draw(NUM_ITEMS, seed=2))
        weight, bias = head.factors(tokens)
        logits = head(states, tokens)
    assert logits.shape == (7, 3, NUM_ITEMS)
    torch.testing.assert_close(states @ weight.T + bias, logits, atol=1e-4, rtol=1e-4)


def test_calibrated_states_are_centred_and_of_equal_spread():
    head, states = make("free"), 100 + draw(50, 2, WIDTH) * torch.arange(1, WIDTH + 1)
    head.calibrate(states)
    standard = head.standard(states).flatten(0, 1)
    torch.testing.assert_close(standard.mean(0), torch.zeros(WIDTH), atol=1e-4, rtol=0)
    torch.testing.assert_close(standard.std(0), torch.ones(WIDTH), atol=1e-4, rtol=0)


def test_a_constant_state_is_no_division_by_zero():
    head, states = make("free"), draw(50, 1, WIDTH)
    states[..., 3] = 7
    head.calibrate(states)
    assert torch.isfinite(head.standard(states)).all()
    assert (head.standard(states)[..., 3] == 0).all()


def test_a_single_state_has_the_scale_one():
    head, states = make("free"), draw(1, 1, WIDTH)
    head.calibrate(states)
    assert (head.scale == 1).all()
    assert (head.standard(states) == 0).all()


def test_calibration_is_saved_but_not_trained():
    head = make("free")
    assert {"centre", "scale"} <= set(head.state_dict())
    assert {name for name, _ in head.named_parameters()} == {"weight", "bias"}


def test_free_head_has_one_row_an_item():
    count = [sum(p.numel() for p in make("free", num_items=n).parameters()) for n in (40, 41)]
    assert count == [40 * (WIDTH + 1), 41 * (WIDTH + 1)]


def test_tied_head_grows_by_one_number_an_item():
    count = [sum(p.numel() for p in make("tied", num_items=n).parameters()) for n in (40, 41)]
    assert count == [2 * RANK * WIDTH + 40, 2 * RANK * WIDTH + 41]


def test_tied_head_is_the_low_rank_product():
    head, states, tokens = make("tied"), draw(4, WIDTH), draw(NUM_ITEMS, WIDTH, seed=1)
    with torch.no_grad():
        expected = (states @ head.state.weight.T) @ (tokens @ head.token.weight.T).T + head.bias
        torch.testing.assert_close(head(states, tokens), expected, atol=1e-5, rtol=1e-4)
        assert torch.linalg.matrix_rank(head.linear(tokens)[0]) == RANK


@pytest.fixture
def relation():
    """States from which a target is read linearly, with noise: the item closest to the target is
    observed.
    """
    states, true_map = 5 + 2 * draw(600, WIDTH), draw(WIDTH, FEATURES, seed=1)
    target = (states - 5) @ true_map / WIDTH**0.5 + 0.1 * draw(600, FEATURES, seed=2)
    item = draw(NUM_ITEMS, FEATURES, seed=3)
    item = item / item.norm(dim=1, keepdim=True)
    observed = (target @ item.T).argmax(1)
    head = make("free")
    head.calibrate(states)
    return head, states, Space(target, item), observed


def hits(head, states, observed) -> float:
    return float((head(states, None).argmax(1) == observed).float().mean())


def test_matched_start_recovers_a_linear_relation(relation):
    head, states, space, observed = relation
    by_chance = hits(head, states, observed)
    head.set(*matched(head, states, [space], weights=[1.0], observed_N=observed))
    found = hits(head, states, observed)
    assert by_chance < 0.15
    assert 0.7 < found < 0.99  # the noise and the ridge forbid more


def test_matched_start_is_well_scaled(relation):
    """Half and double the logits are less likely: the softmax is neither flat nor too sure."""
    head, states, space, _ = relation
    noise = torch.from_numpy(np.random.default_rng(6).gumbel(size=(600, NUM_ITEMS)))
    observed = (2 * space.target @ space.item.T + noise).argmax(
        1
    )  # a draw from the softmax of twice the scores
    weight, bias = matched(head, states, [space], weights=[1.0], observed_N=observed)

    @torch.no_grad()
    def loss(scale: float) -> float:
        head.set(weight * scale, bias * scale)
        return float(torch.nn.functional.cross_entropy(head(states, None), observed))

    assert loss(1) < min(loss(0.5), loss(2.0), np.log(NUM_ITEMS))


def test_the_scale_is_the_best_for_the_items_that_the_loss_keeps(relation):
    """Half of the items are left out, those that the loss of the training would leave out too."""
    head, states, space, _ = relation
    gone = torch.arange(NUM_ITEMS) % 2 == 0
    scores = (2 * space.target @ space.item.T).masked_fill(gone, -torch.inf)
    noise = torch.from_numpy(np.random.default_rng(6).gumbel(size=(600, NUM_ITEMS)))
    observed = (scores + noise).argmax(1)

    def start(left_out):
        return matched(head, states, [space], weights=[1.0], observed_N=observed, left_out=left_out)

    @torch.no_grad()
    def loss(weight, bias, factor=1.0):
        head.set(weight * factor, bias * factor)
        logits = head(states[480:], None).masked_fill(gone, -torch.inf)
        return float(torch.nn.functional.cross_entropy(logits, observed[480:]))

    masked = start(lambda rest: gone.expand(len(rest), -1))
    whole = start(None)
    assert loss(*masked) < loss(*whole) - 0.01
    assert loss(*masked) < min(loss(*masked, 0.5), loss(*masked, 2.0))


def test_unobserved_states_choose_no_scale(relation):
    head, states, space, observed = relation
    some = torch.where(torch.arange(600) % 2 == 0, observed, -100)
    head.set(*matched(head, states, [space], weights=[1.0], observed_N=some))
    assert 0.7 < hits(head, states, observed) < 0.99


def test_weights_say_which_space_is_followed(relation):
    head, states, space, observed = relation
    noise = Space(draw(600, 3, seed=4), draw(NUM_ITEMS, 3, seed=5))
    found = []
    for share in (0.0, 1.0, 100.0):
        head.set(*matched(head, states, [space, noise], weights=(1.0, share), observed_N=observed))
        found.append(hits(head, states, observed))
    assert found[0] > found[1] > found[2]
    assert found[2] < 0.3


def test_a_space_that_says_nothing_does_no_harm(relation):
    head, states, space, observed = relation
    nothing = Space(torch.zeros(600, 3), torch.zeros(NUM_ITEMS, 3))
    weight, bias = matched(head, states, [space, nothing], weights=(1.0, 1.0), observed_N=observed)
    assert torch.isfinite(weight).all()
    torch.testing.assert_close(
        (weight, bias), matched(head, states, [space], weights=[1.0], observed_N=observed)
    )


def test_matched_start_has_an_intercept(relation):
    """States that are not centred, as those of other prompts, are matched as well."""
    head, states, space, observed = relation
    head.set(*matched(head, states, [space], weights=[1.0], observed_N=observed))
    centred = hits(head, states, observed)
    head.calibrate(states - 20)
    head.set(*matched(head, states, [space], weights=[1.0], observed_N=observed))
    assert abs(hits(head, states, observed) - centred) < 0.01
