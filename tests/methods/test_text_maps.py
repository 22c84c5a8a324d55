"""The methods that train a map of text states: AlphaRec and the text map; and whitened text-kNN."""

import numpy as np
import pytest

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.data.sequences import Sequences
from glta.methods.alpharec.model import AlphaRec
from glta.methods.registry import units
from glta.methods.shared.text_space import TextScores, text_vectors, whitening_map
from glta.methods.text_map.model import TextMap
from glta.nn.text.state_map import StateMap
from glta.params.model import Params
from glta.storage.arrays import save_arrays
from glta.testing.blocks import NUM_ITEMS, NUM_USERS
from tests.methods.test_trained import Stopped, TrainedContract, job_of, step_of

NAMES = ["alpharec", "text-map"]
SMALL = {
    "embedding_dim": 8,
    "hidden_dim": 16,
    "learning_rate": 0.02,
    "batch_size": 64,
    "steps": 60,
    "evaluate_every": 10,
}


def values_of(name: str, **more) -> dict:
    return {f"settings.{name}.{key}": value for key, value in (SMALL | more).items()}


class TestAlphaRec(TrainedContract):
    name = "alpharec"
    values = values_of("alpharec")

    def test_counts_the_map(self, model):
        assert model.trainable_parameters == (8 * 16 + 16) + (16 * 8 + 8)


class TestTextMap(TrainedContract):
    name = "text-map"
    values = values_of("text-map")

    def test_counts_the_map(self, model):
        assert model.trainable_parameters == (8 * 16 + 16) + (16 * 8 + 8)


@pytest.mark.parametrize("name", NAMES)
def test_the_linear_form_is_an_ablation_without_a_bias(world, name):
    changes = units()[f"{name}-linear"].values
    model = world.train(name, values_of(name) | changes)
    assert {key: array.shape for key, array in model.weights.items()} == {"weight0": (8, 8)}


@pytest.mark.parametrize("name", NAMES)
def test_resumed_run_equals_the_uninterrupted_one(world, tmp_path, name):
    def run(**more):
        return step_of(name).run(job_of(world, name, params, **more))

    def stop_in_epoch_3(record):
        if record["epoch"] == 3:
            raise Stopped

    # 64 pairs a step and 7 steps an epoch: an epoch ends within a pass through the pairs
    params = Params().with_values(values_of(name, evaluate_every=7))
    whole = run()
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        run(checkpoint=checkpoint, on_epoch=stop_in_epoch_3)
    resumed = run(checkpoint=checkpoint)
    assert (resumed.history, resumed.best_epoch) == (whole.history, whole.best_epoch)
    assert len(whole.history) > 5
    for key, array in whole.arrays.items():
        np.testing.assert_array_equal(resumed.arrays[key], array)


def random_case(num_items: int = 12) -> tuple[Interactions, np.ndarray]:
    """30 users, of whom one has nothing; nobody has the items from 10 on."""
    rng = np.random.default_rng(3)
    present = rng.random((30, 10)) < 0.3
    present[7] = False
    present[8, 2] = True
    states = rng.normal(0.2, 1, size=(12, 5)).astype(np.float32)
    return Interactions.of(*np.nonzero(present), 30, num_items), states[:num_items]


def made(name: str, num_items: int):
    """Place users and items of the random case, by untrained weights."""
    train, states = random_case(num_items)
    weights = StateMap((5, 7, 4), seed=2).arrays()
    if name == "alpharec":
        return AlphaRec.of(weights, states, train, num_layers=2)
    if name == "text-map":
        return TextMap.of(weights, states, train)
    return TextScores(*text_vectors(states, train, singular_power=0.3))


@pytest.mark.parametrize("name", [*NAMES, "text-knn"])
def test_new_items_are_as_if_they_had_been_in_the_catalogue(name):
    everyone = np.arange(30)
    short, whole = made(name, 10), made(name, 12)
    longer = short.extended(random_case()[1][10:])
    np.testing.assert_allclose(longer.score(everyone), whole.score(everyone), atol=1e-5)
    histories = history_matrix(random_case()[0])[:4] + history_matrix(
        Interactions.of([0, 2], [10, 11], 4, 12)
    )
    np.testing.assert_allclose(
        longer.score_histories(histories), whole.score_histories(histories), atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_users_are_known_by_their_items_exactly(name):
    model = made(name, 12)
    scores = model.score(np.arange(30))
    assert np.abs(scores).max() > 0.5
    history = history_matrix(random_case()[0])
    np.testing.assert_allclose(model.score_histories(history), scores, atol=1e-5)


@pytest.mark.parametrize("name", [*NAMES, "text-knn"])
def test_users_of_test_lists_are_placed_by_more_items(name):
    model, (train, _) = made(name, 12), random_case()
    lists = [train.items_of(user).tolist() for user in range(30)]
    lists[7], lists[8] = [4, 1], [2, 9]
    found = model.with_histories(Sequences.of_lists(lists, 12)).score(np.arange(30))
    expected = model.score_histories(
        history_matrix(Interactions.of([7, 7, 8, 8], [1, 4, 2, 9], 9, 12))
    )
    np.testing.assert_allclose(found[[7, 8]], expected[[7, 8]], atol=1e-5)
    changed = np.abs(found - model.score(np.arange(30))).max(1) > 1e-4
    assert np.flatnonzero(changed).tolist() == [7, 8]


def hidden_block(num: int, seed: int) -> np.ndarray:
    """Texts of items that tell the block by one direction, among stronger ones that say nothing."""
    states = np.random.default_rng(seed).normal(0, 1, (num, 8)).astype(np.float32)
    states[:, 3] = np.where(np.arange(num) % 2, 1.5, -1.5)
    states[:, [0, 1]] *= 6
    return states / np.linalg.norm(states, axis=1, keepdims=True)


def even_first(model, texts: np.ndarray) -> float:
    """Return how often a user of the even block has an even new item before an odd one.

    Users of the odd block count the other way round. 0.5 is chance.
    """
    scores = model.extended(texts).score(np.arange(NUM_USERS - 1))[:, NUM_ITEMS:]
    wins = scores[:, 0::2, None] > scores[:, None, 1::2]
    return float(np.mean([wins[0::2].mean(), 1 - wins[1::2].mean()]))


@pytest.mark.parametrize("name", NAMES)
def test_a_map_learns_which_direction_of_the_texts_tells(world, name):
    """Bounded from both sides: frozen texts do not tell, and for texts that say nothing no map can.

    It is measured by new items, as a map may learn known ones by heart.
    """
    users = np.zeros((NUM_USERS, 8), np.float32)
    states = {"item": hidden_block(NUM_ITEMS, seed=5), "user": users}
    save_arrays(world.cell.step("profile") / "states.safetensors", states)
    more = {"map": "linear", "embedding_dim": 2, "temperature": 0.3}
    values = values_of(name, **more, steps=120, evaluate_every=60)
    # without propagation AlphaRec, too, has nothing but the texts
    values |= {"settings.alpharec.num_layers": 0}
    model = world.train(name, values)
    frozen = world.train("text-knn", {"settings.text-knn.singular_power": 1})
    new, silent = hidden_block(40, seed=6), hidden_block(40, seed=7)
    silent[:, 3] = 0
    found = [even_first(*pair) for pair in ((model, new), (frozen, new), (model, silent))]
    print(name, found)
    assert found[0] > 0.85
    assert found[1] < 0.7
    assert 0.35 < found[2] < 0.65


def test_singular_values_are_raised_to_the_power():
    rng = np.random.default_rng(1)
    centred = rng.normal(size=(30, 6)) * [8, 4, 2, 1, 0.5, 0]  # the texts do not differ in the last
    centred = (centred - centred.mean(0)).astype(np.float32) @ np.linalg.qr(
        rng.normal(size=(6, 6))
    )[0].astype(np.float32)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    for power in (0, 0.25, 0.5):
        raised = np.where(values > 1e-3, values**power, 0)
        np.testing.assert_allclose(
            centred @ whitening_map(centred, power), left * raised @ right, atol=1e-4
        )
    assert whitening_map(centred, 1) is None


def test_text_knn_whitens_by_its_setting(world):
    states = np.random.default_rng(2).normal(size=(NUM_ITEMS, 8)) * [9, 5, 3, 2, 1, 1, 1, 1]
    users = np.zeros((NUM_USERS, 8), np.float32)
    arrays = {"item": states.astype(np.float32), "user": users}
    save_arrays(world.cell.step("profile") / "states.safetensors", arrays)
    found = {
        power: world.train("text-knn", {"settings.text-knn.singular_power": power}).arrays
        for power in (0, 1)
    }
    assert set(found[0]) - set(found[1]) == {"whitening"}

    def spread(arrays: dict) -> float:
        values = np.linalg.svd(arrays["item"] * arrays["length"][:, None], compute_uv=False)
        return values.max() / values.min()

    assert spread(found[0]) == pytest.approx(1, abs=1e-3)
    assert spread(found[1]) > 5
