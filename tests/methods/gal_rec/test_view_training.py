"""The objective of GAL-Rec against a slow and obvious form, and its training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from glta.data.interactions import Interactions
from glta.evaluation.validation import measured_users
from glta.methods.gal_rec.neighbours import Neighbours
from glta.methods.gal_rec.view_prompts import VIEWS, Side
from glta.methods.gal_rec.view_training import ViewTraining
from glta.nn.language.node_prompts import TASK, read_outs
from glta.nn.language.node_prompts import USER as NODE_USER
from glta.testing.blocks import NUM_ITEMS, NUM_USERS, block_prepared
from glta.training.rates import rate_factor
from glta.training.trainer import train
from tests.methods.gal_rec.made import make_task
from tests.tiny import write_causal, write_scaled

USER, ITEM = Side.USERS, Side.ITEMS
NOBODY = Neighbours(np.array([], int), np.array([], int))


def started(task: ViewTraining) -> ViewTraining:
    """Give a training its start, and its queues the keys of two earlier steps."""
    task.start()
    with torch.no_grad():
        for step in (5, 6):
            task.losses(task.examples.at(step))
            task._push_keys(task.settings.batch_size)
    return task


def state(task: ViewTraining, prompt) -> np.ndarray:
    """Read one prompt alone."""
    network = task.network
    tokens = network.tokens(network.nodes(task.nodes.training))
    with torch.no_grad():
        return read_outs(network.language, [prompt], tokens)[0, 0].numpy()


def represented(task: ViewTraining, prompt, view) -> np.ndarray:
    """Represent one prompt, written out."""
    network, place = task.network, VIEWS.index(view)
    centred = state(task, prompt) - network.centre[place].numpy()
    found = network.compare.detach().numpy() @ (centred / network.scale[place].numpy())
    return found / np.linalg.norm(found)


def infonce(task: ViewTraining, anchor, own, node: int, place: int, allowed=lambda id: True):
    """Compute one contrastive loss, written out."""
    queue = task.queues[place]
    negatives = [
        anchor @ key.numpy()
        for key, id in zip(queue.keys, queue.ids.tolist(), strict=True)
        if id not in (-1, node) and allowed(id)
    ]
    assert negatives
    logits = np.array([anchor @ own, *negatives]) / task.settings.temperature
    return np.log(np.exp(logits).sum()) - logits[0]


def expected_hops(task: ViewTraining, examples) -> list[float]:
    """Compute the three contrastive losses of the two-hop reading, written out."""
    train = task.prepared.train
    sums = np.zeros(3)
    for example in examples:
        user, item = example.user, example.item
        seen = {view: represented(task, task.prompt(example, view), view) for view in VIEWS}
        for side, node, first in ((USER, user, 0), (ITEM, item, 1)):
            for loss, hop in ((0, 0), (1, 1)):
                anchor, own = seen[side, 2], seen[side, hop]
                sums[loss] += infonce(task, anchor, own, node, 2 * loss + first)
        # all training items, targets of other examples too, but for the example's own pair
        has_items = set(train.items_of(user).tolist()) - {item}
        has_users = set(train.user[train.item == item].tolist()) - {user}
        pairs = (seen[USER, 2], seen[ITEM, 2])
        sums[2] += infonce(task, *pairs, item, 4, lambda id, has=has_items: id not in has)
        sums[2] += infonce(task, *pairs[::-1], user, 5, lambda id, has=has_users: id not in has)
    return sums.tolist()


def expected_means(task: ViewTraining, examples) -> list[float]:
    """Compute the three contrastive losses of the older reading, written out."""
    graph = task.prepared.graph
    degree = {USER: graph.user_degree, ITEM: graph.item_degree}
    sums = np.zeros(3)

    def alone(side, node):
        return represented(task, task.templates.prompt(side, 0, node, NOBODY), (side, 0))

    def mean(side, node, other, nodes):
        weights = [1 / np.sqrt(degree[side][node] * degree[other][n]) for n in nodes]
        total = sum(w * alone(other, n) for w, n in zip(weights, nodes, strict=True))
        return total / np.linalg.norm(total)

    for example in examples:
        user, item = example.user, example.item
        for place, (side, node, other, nodes, loss) in enumerate(
            (
                (USER, user, ITEM, example.of_user.first, 0),
                (ITEM, item, USER, example.of_item.first, 0),
                (USER, user, USER, example.of_user.second, 1),
                (ITEM, item, ITEM, example.of_item.second, 2),
            )
        ):
            if len(nodes):
                own = mean(side, node, other, nodes)
                sums[loss] += infonce(task, alone(side, node), own, node, place)
    return sums.tolist()


@pytest.fixture(scope="module", params=["encoder", "causal"])
def task(request, models, graph) -> ViewTraining:
    return started(make_task(models[request.param], graph))


def test_each_contrastive_loss_is_what_its_equation_says(task):
    examples = task.examples.at(0)
    found = [loss.item() for loss in task.losses(examples)][1:]
    assert min(found) > 0.1
    np.testing.assert_allclose(found, expected_hops(task, examples), rtol=1e-4)


def test_each_loss_of_the_older_reading_is_what_its_equation_says(models, graph):
    task = started(make_task(models["encoder"], graph, reading="means"))
    examples = task.examples.at(0)
    found = [loss.item() for loss in task.losses(examples)][1:]
    assert min(found) > 0.1
    np.testing.assert_allclose(found, expected_means(task, examples), rtol=1e-4)


def test_cross_entropy_ranks_the_target_among_items_that_are_not_known(task):
    network, nodes = task.network, task.nodes.training
    examples = task.examples.at(0)
    items = network.items(nodes).detach().numpy()
    total = 0.0
    for example in examples:
        place = VIEWS.index((USER, 2))
        read = state(task, task.prompt(example, (USER, 2))) - network.centre[place].numpy()
        user = nodes.user[example.user].numpy()
        vector = user + network.state_map.detach().numpy() @ (read / network.scale[place].numpy())
        logits = items @ vector
        known = set(task.prepared.train.items_of(example.user).tolist()) - {example.item}
        candidates = [i for i in range(NUM_ITEMS) if i not in known]
        total += np.log(np.exp(logits[candidates]).sum()) - logits[example.item]
    np.testing.assert_allclose(task.losses(examples)[0].item(), total, rtol=1e-4)


def test_an_item_without_training_users_is_neither_trained_against_nor_listed(models, graph):
    """Its serving vector comes from its text, not from what the training made of it."""
    prepared = block_prepared()
    parts = {}
    for name in ("train", "graph", "target"):
        pairs = getattr(prepared, name)
        kept = pairs.item != 6
        parts[name] = Interactions(pairs.user[kept], pairs.item[kept], NUM_USERS, NUM_ITEMS)
    task = started(make_task(models["encoder"], graph, replace(prepared, parts={}, **parts)))
    task.optimizer()
    task.backward(next(iter(task.batches(0))))
    moved = task.network.bias.grad != 0
    assert not moved[6] and moved[:6].all() and moved[7:].all()
    with torch.no_grad():
        task.network.bias[6] = 1e6  # would put it first in every list
    high = task.validate(0)
    with torch.no_grad():
        task.network.bias[6] = -1e6
    assert task.validate(0) == high > 0


def test_a_validation_reads_the_prompts_of_some_users(models, graph, monkeypatch):
    task = started(make_task(models["encoder"], graph, validation_users=4))
    asked: list[int] = []
    read = task.read_users
    monkeypatch.setattr(task, "read_users", lambda users: asked.extend(users) or read(users))
    few = task.validate(0)
    everyone = measured_users(task.prepared)
    assert asked == measured_users(task.prepared, 4).tolist()
    assert len(asked) == 4 < everyone.size and asked[-1] == everyone[-1]
    task.settings = task.settings.model_copy(update={"validation_users": 0})
    assert task.validate(0) != few
    assert asked[4:] == everyone.tolist()


def test_one_example_is_enough_for_a_start(models, graph):
    task = make_task(models["encoder"], graph)
    for view in VIEWS:
        task.network.calibrate(torch.randn(1, task.network.centre.shape[1]), view)
    assert (task.network.scale == 1).all()


@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (0.3, 0.0, 0.0), (0.0, 0.5, 2.0)])
def test_the_objective_adds_the_weighted_losses(models, graph, weights):
    names = ("alone_weight", "neighbour_weight", "pair_weight")
    settings = dict(zip(names, weights, strict=True)) | {"lora_dropout": 0.0}
    task = started(make_task(models["encoder"], graph, **settings))
    task.optimizer()
    batch = next(iter(task.batches(0)))
    losses = [loss.item() for loss in task.losses(batch.examples)]
    assert [loss > 0 for loss in losses[1:]] == [weight > 0 for weight in weights]
    for found in task._new_keys:
        found.clear()
    record = task.backward(batch)
    total = losses[0] + np.dot(weights, losses[1:])
    assert record["loss"] == pytest.approx(total / len(batch.examples), rel=1e-5)


def gradients(task: ViewTraining) -> dict[str, torch.Tensor]:
    task.optimizer()
    for parameter in task.trained().values():
        parameter.grad = None
    task.backward(next(iter(task.batches(0))))
    return {name: p.grad for name, p in task.trained().items() if p.grad is not None}


@pytest.mark.parametrize("change", [{"micro_batch": 2}, {"checkpoint_layers": True}])
def test_parts_of_a_batch_add_up_to_its_gradient(models, graph, change):
    plain, other = (
        started(make_task(models["encoder"], graph, lora_dropout=0.0, **more))
        for more in ({}, change)
    )
    expected, found = gradients(plain), gradients(other)
    assert expected.keys() == found.keys()
    assert any(name.startswith("language.") for name in found)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-4, rtol=1e-3)
    for first, second in zip(plain.queues, other.queues, strict=True):
        torch.testing.assert_close(first.state(), second.state(), atol=1e-5, rtol=1e-4)


def test_a_batch_that_is_cut_needs_a_queue(models, graph):
    with pytest.raises(ValueError, match=r"settings.gal-rec.queue = 0.*micro_batch = 0"):
        make_task(models["encoder"], graph, queue=0, micro_batch=2)


@pytest.mark.parametrize("kind", ["lora", "whole", "tokens"])
def test_what_is_trained_moves_and_nothing_else(models, graph, kind):
    task = make_task(models["encoder"], graph, train=kind, steps=2)
    model = task.network.language.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    own = {name: p.detach().clone() for name, p in task.network.named_parameters()}
    task.start()
    optimizer = task.optimizer()
    for batch in task.batches(0):
        optimizer.zero_grad()
        task.backward(batch)
        optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    if kind == "tokens":
        assert not moved
    elif kind == "lora":
        assert moved
        assert all("lora_" in name for name in moved)
    else:
        assert len(moved) > 0.8 * len(before)
    now = dict(task.network.named_parameters())
    still = {name for name, tensor in own.items() if torch.equal(now[name], tensor)}
    assert not still


def test_the_averaged_encoder_follows_slowly_and_makes_the_keys(models, graph):
    task = started(make_task(models["encoder"], graph, average=0.75, steps=3, lora_dropout=0.0))
    optimizer = task.optimizer()
    batches = list(task.batches(0))
    optimizer.zero_grad()
    task.backward(batches[0])
    first = {name: p.detach().clone() for name, p in task.trained().items()}
    optimizer.step()
    second = {name: p.detach().clone() for name, p in task.trained().items()}
    keys_before = task.queues[0].keys.clone()
    task.backward(batches[1])
    for name, tensor in task._average.items():
        torch.testing.assert_close(tensor, 0.75 * first[name] + 0.25 * second[name])
        torch.testing.assert_close(task.trained()[name].detach(), second[name], rtol=0, atol=0)
    # the newest key is that of the averaged weights
    example = batches[1].examples[-1]
    with torch.no_grad():
        for name, parameter in task.trained().items():
            parameter.copy_(task._average[name])
    own = represented(task, task.prompt(example, (USER, 0)), (USER, 0))
    newest = task.queues[0].keys[(task.queues[0].place - 1) % len(task.queues[0].ids)]
    np.testing.assert_allclose(newest, own, atol=1e-5)
    assert not torch.equal(keys_before, task.queues[0].keys)


@pytest.mark.parametrize("more", [{}, {"average": 0.9, "train": "whole"}, {"reading": "means"}])
def test_an_interrupted_training_resumes_to_the_last_bit(models, graph, tmp_path, more):
    class Stop(Exception):
        pass

    def interrupt(record):
        if record["epoch"] == 2:
            raise Stop

    def run(folder, on_epoch=lambda record: None):
        task = make_task(models["encoder"], graph, **more)
        found = train(task, epochs=4, patience=9, checkpoint=folder, on_epoch=on_epoch)
        return task, found

    whole, expected = run(tmp_path / "whole")
    with pytest.raises(Stop):
        run(tmp_path / "cut", interrupt)
    again, found = run(tmp_path / "cut")
    assert found.history == expected.history
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(again.tensors()[name], tensor, rtol=0, atol=0)
    for name, tensor in whole.state().items():
        torch.testing.assert_close(again.state()[name], tensor, rtol=0, atol=0)
    everyone = np.arange(NUM_USERS)
    torch.testing.assert_close(
        again.read_users(everyone), whole.read_users(everyone), rtol=0, atol=0
    )


@pytest.mark.parametrize("write", [write_scaled, write_causal])
def test_tokens_start_as_long_as_those_of_words(write, graph, tmp_path):
    """Some models read multiples of the rows of their table."""
    task = make_task(write(tmp_path), graph)
    network, nodes = task.network, task.nodes.training
    words = network.language.embed(torch.arange(50))
    for kind, ids in ((TASK, torch.arange(len(VIEWS))), (NODE_USER, torch.arange(NUM_USERS))):
        tokens = network.tokens(nodes)[kind](ids)
        assert 0.6 < tokens.norm(dim=1).mean() / words.norm(dim=1).mean() < 1.8


def test_rates_rise_and_fall():
    found = [rate_factor(step, 100) for step in range(100)]
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found[5] == 1
    assert found[5:] == sorted(found[5:], reverse=True)
    assert 0 < found[-1] < 0.01
