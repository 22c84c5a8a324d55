"""Semantic Convergence as a method: the contract, lists, training, histories and errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from glta.data.sequences import Sequences
from glta.methods.semantic_convergence.alignment_training import AlignmentTraining
from glta.methods.semantic_convergence.model import (
    LanguageAbout,
    SemanticConvergence,
    new_network,
    new_prompts,
)
from glta.methods.semantic_convergence.spec import AlignmentSettings, TaskSettings
from glta.methods.semantic_convergence.tasks import AlignmentTasks
from glta.nn.language.settings import CausalSettings
from glta.testing.blocks import NUM_ITEMS, NUM_USERS, TOPICS
from glta.testing.contract import MethodContract
from glta.training.devices import Devices
from glta.training.trainer import train
from tests.tiny import write_causal

EVERYONE = np.arange(NUM_USERS)
QUICK = {
    "tasks.name": 0.3,
    "tasks.search": 0.3,
    "align.max_items": 8,
    "align.learning_rate": 1e-2,
    "align.code_learning_rate": 1e-2,
    "align.batch_size": 32,
    "align.dropout": 0.4,
    "align.steps": 80,
    "align.evaluate_every": 40,
    "codes.levels": 2,
    "codes.codes": 5,
    "codes.text_dim": 2,
}
VALUES = {f"settings.semantic-convergence.{key}": value for key, value in QUICK.items()} | {
    "causal.width": 16,
    "causal.layers": 1,
    "causal.heads": 2,
    "causal.hidden_dim": 32,
}


class TestSemanticConvergence(MethodContract):
    name = "semantic-convergence"
    values = VALUES

    def test_lists_of_beams_are_those_of_exact_scores(self, model, world):
        assert model.exhibit is not None
        beams = model.about.align.model_copy(update={"exact_items": 0, "beams": NUM_ITEMS})
        searched = replace(model, about=model.about.model_copy(update={"align": beams}))
        for k in (3, NUM_ITEMS):
            items, scores = model.recommend(EVERYONE, k, world.prepared.train)
            found, their = searched.recommend(EVERYONE, k, world.prepared.train)
            np.testing.assert_array_equal(found, items)
            np.testing.assert_allclose(their, scores, atol=1e-4)

    def test_a_model_that_serves_switches_no_layer(self, model, monkeypatch):
        """Threads share it: checkpointed layers would be switched for each call."""
        align = model.about.align.model_copy(update={"checkpoint_layers": True})
        served = replace(model, about=model.about.model_copy(update={"align": align}))
        made = []
        monkeypatch.setattr(
            "glta.methods.semantic_convergence.model.new_network",
            lambda *args, **named: made.append(new_network(*args, **named)) or made[0],
        )
        np.testing.assert_array_equal(served.score(EVERYONE), model.score(EVERYONE))
        assert not any(module.training for module in made[0].language.model.modules())

    def test_histories_are_read_in_order_up_to_the_newest(self, model, world):
        seen = world.prepared.seen_sequences
        own = seen.of_user(4).item
        lists = [own, own[::-1], [], np.r_[own[::-1], own[-8:]]]
        scores = model.with_histories(Sequences.of_lists(lists, NUM_ITEMS)).score(np.arange(4))
        with_seen = model.with_histories(seen)
        assert with_seen.generator is model.generator  # it is loaded once
        at_test = with_seen.score(np.array([4]))[0]
        np.testing.assert_allclose(scores[0], at_test, atol=1e-4)
        np.testing.assert_allclose(np.exp(scores).sum(1), 1, atol=1e-4)
        assert np.abs(scores[1] - scores[0]).max() > 0.02
        if own.size >= 8:
            np.testing.assert_allclose(scores[3], scores[0], atol=1e-4)
        with pytest.raises(ValueError, match="histories over 3 items"):
            model.with_histories(Sequences.of_lists([[1]], 3))


def test_test_items_change_nothing(world):
    empty = {**world.prepared.parts, "test": world.prepared.parts["test"].head(0)}
    without = replace(world.prepared, parts=empty)
    quick = VALUES | {"settings.semantic-convergence.align.steps": 20}
    np.testing.assert_array_equal(
        world.train("semantic-convergence", quick, prepared=without).score(EVERYONE),
        world.train("semantic-convergence", quick).score(EVERYONE),
    )


def test_a_named_model_with_adapters(world, tmp_path):
    folder = write_causal(tmp_path)
    align = "settings.semantic-convergence.align"
    values = VALUES | {"causal.model": str(folder), f"{align}.train": "lora", f"{align}.steps": 8}
    values |= {"settings.semantic-convergence.tasks.text_tokens": 4}
    model = world.train("semantic-convergence", values)
    assert isinstance(model, SemanticConvergence)
    assert {name.partition(".")[0] for name in model.weights} == {"code", "code_head", "language"}
    assert all("lora_" in name for name in model.weights if name.startswith("language."))
    (tmp_path / "out").mkdir()
    model.save(tmp_path / "out")
    loaded = SemanticConvergence.load(tmp_path / "out")
    np.testing.assert_array_equal(loaded.score(EVERYONE), model.score(EVERYONE))
    config = folder / "config.json"
    config.write_text(config.read_text().replace("0.2", "0.3"))
    with pytest.raises(ValueError, match=r"the model's files have sha256 .* expected"):
        SemanticConvergence.load(tmp_path / "out").score(EVERYONE)


def test_settings_that_exclude_each_other(world, tmp_path):
    align = "settings.semantic-convergence.align"
    with pytest.raises(ValueError, match=r"align.train = lora: causal.model = small has no weight"):
        world.train("semantic-convergence", VALUES | {f"{align}.train": "lora"})
    long = {"causal.model": str(write_causal(tmp_path)), f"{align}.max_items": 500}
    with pytest.raises(ValueError, match=r"reads 128 tokens, but a prompt may have 1\d\d\d;"):
        world.train("semantic-convergence", VALUES | long)


CODES = np.array([[i // 5, i % 5] for i in range(NUM_ITEMS)])


def training(**settings) -> AlignmentTraining:
    align = AlignmentSettings(**{"steps": 12, "evaluate_every": 3, "batch_size": 8, **settings})
    shape = CausalSettings(width=8, layers=1, heads=2, hidden_dim=16)
    tasks = TaskSettings()
    about = LanguageAbout(causal=shape, sha256="", tasks=tasks, align=align)
    network = new_network(about, (5, 5), 1)
    texts = [TOPICS[i % 2] for i in range(NUM_ITEMS)]
    lists = [[(u + n) % NUM_ITEMS for n in range(2 + u % 4)] for u in range(9)]
    drawn = AlignmentTasks(
        Sequences.of_lists(lists, NUM_ITEMS),
        new_prompts(network, CODES, texts, tasks),
        tasks,
        max_items=4,
        batch_size=8,
        shuffled=False,
        seed=2,
    )
    return AlignmentTraining(network, drawn, align, 2)


def trained(task: AlignmentTraining, epochs: int, folder=None) -> list[dict]:
    return train(task, epochs=epochs, patience=99, checkpoint=folder).history


def test_a_resumed_training_is_equal_to_the_last_bit(tmp_path):
    whole = training()
    expected = trained(whole, 4)
    trained(training(), 2, tmp_path)
    resumed = training()
    assert trained(resumed, 4, tmp_path) == expected
    assert expected[0].keys() >= {"loss", "next_item", "describe", "name", "search"}
    for name, weight in resumed.tensors().items():
        assert torch.equal(weight, whole.tensors()[name]), name


def gradients(task: AlignmentTraining) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in task.trained().items() if p.grad is not None}


@pytest.mark.parametrize("how", ["micro_batch", "processes"])
def test_parts_of_a_batch_add_up(how):
    whole = training(dropout=0.0)
    whole.optimizer()
    batch = next(iter(whole.batches(0)))
    expected = whole.backward(batch)
    task = training(dropout=0.0, micro_batch=3 if how == "micro_batch" else 0)
    task.optimizer()
    found = dict.fromkeys(expected, 0.0)
    for rank in range(2 if how == "processes" else 1):
        if how == "processes":
            task.devices = Devices(torch.device("cpu"), rank, 2)
        for name, value in task.backward(batch).items():
            found[name] += value
    assert found == pytest.approx(expected, rel=1e-4)
    both = gradients(whole), gradients(task)
    assert both[0].keys() == both[1].keys()
    for name, gradient in both[0].items():
        torch.testing.assert_close(both[1][name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_the_loss_weighs_the_tasks():
    task = training(dropout=0.0)
    task.optimizer()
    found = task.backward(next(iter(task.batches(0))))
    weights = {"next_item": 1.0, "describe": 0.1, "name": 0.1, "search": 0.1}
    expected = sum(w * found[name] for name, w in weights.items()) / sum(weights.values())
    assert found["loss"] == pytest.approx(expected)
    # of an untrained model: near the logarithm of 5 codes, and of 30,522 words
    assert 1.4 < found["next_item"] < 1.9
    assert 9.5 < found["describe"] < 11
