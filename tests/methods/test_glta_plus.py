"""Ridge regression on texts, and GLTA+, which adds it to GLTA's read-outs."""

from dataclasses import replace

import numpy as np
import pytest

from glta.data.histories import history_matrix
from glta.features.profiles import Profiles
from glta.methods.chain import REFIT
from glta.methods.shared.about import write_about
from glta.methods.shared.blended import Blended
from glta.methods.shared.read_outs import ReadOutScores
from glta.methods.shared.standardized import standardized
from glta.methods.shared.text_features import ridge_inverse
from glta.methods.shared.text_words import word_vectors
from glta.storage.arrays import load_arrays, save_arrays
from glta.testing.blocks import NUM_ITEMS, NUM_USERS, World, block_states
from glta.testing.contract import MethodContract

EVERYONE = np.arange(NUM_USERS)


def with_glta(world: World) -> World:
    """Write the files of a GLTA model that are read. Its read-outs tell the two blocks."""
    rng = np.random.default_rng(2)
    for folder in (world.cell.model("glta"), world.cell.model("glta") / REFIT):
        folder.mkdir(parents=True)
        state = block_states(NUM_USERS)[:, None] + rng.normal(0, 0.01, (NUM_USERS, 3, 8))
        save_arrays(folder / "aligner.safetensors", {"states": state.astype(np.float32)})
        weight = block_states() - block_states().mean(0)
        bias = rng.normal(0, 0.01, NUM_ITEMS).astype(np.float32)
        save_arrays(folder / "model.safetensors", {"weight": weight, "bias": bias})
        write_about(folder, "glta", trainable_parameters=0)
    return world


def parts_of(world) -> tuple[np.ndarray, np.ndarray]:
    """Return centred text states and word vectors, both with a mean length of 1."""
    profiles = Profiles.load(world.cell.step("profile"))
    known = world.prepared.train.item_degree > 0
    found = []
    for rows in (profiles.item_states, word_vectors(profiles.items["text"], 768, 0)):
        centred = rows - rows[known].mean(0)
        found.append(centred / np.linalg.norm(centred[known], axis=1).mean())
    return found[0], found[1]


def ridge_of(features: np.ndarray, world, l2: float) -> np.ndarray:
    """Score by one ridge regression for each user, solved as least squares with further rows."""
    train = world.prepared.train
    known = train.item_degree > 0
    size = features.shape[1]
    level = np.square(features[known]).sum() / size
    rows = np.concatenate([features[known], np.sqrt(l2 * level) * np.eye(size)])
    liked = history_matrix(train).toarray()[:, known]
    targets = np.concatenate([liked.T, np.zeros((size, len(liked)))])
    return (features @ np.linalg.lstsq(rows, targets, rcond=None)[0]).T


class TestWordRidge(MethodContract):
    name = "word-ridge"

    def test_each_user_is_a_ridge_regression_on_words(self, model, world):
        _, words = parts_of(world)
        np.testing.assert_allclose(model.score(EVERYONE), ridge_of(words, world, 5.0), atol=1e-4)

    def test_the_states_decide_nothing(self, model, tmp_path):
        world = World.write(tmp_path)
        profiles = Profiles.load(folder := world.cell.step("profile"))
        replace(profiles, item_states=-profiles.item_states[::-1]).save(folder)
        np.testing.assert_array_equal(self.fit(world).score(EVERYONE), model.score(EVERYONE))


class TestTextRidge(MethodContract):
    name = "text-ridge"

    @pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
    def test_each_user_is_a_ridge_regression_on_states_and_words(self, world, share):
        values = {"settings.text-ridge.state_share": share, "settings.text-ridge.l2": 0.7}
        states, words = parts_of(world)
        features = np.concatenate([np.sqrt(share) * states, np.sqrt(1 - share) * words], 1)
        features = features[:, features.any(0)]  # with share 1, words are no directions at all
        found = world.train(self.name, values)
        np.testing.assert_allclose(found.score(EVERYONE), ridge_of(features, world, 0.7), atol=1e-4)
        history = history_matrix(world.prepared.train)
        np.testing.assert_allclose(found.score_histories(history), found.score(EVERYONE), atol=1e-5)

    def test_states_alone_know_an_added_item_as_they_know_one_of_the_catalogue(self, world):
        model = world.train("text-ridge-states-alone")
        states = Profiles.load(world.cell.step("profile")).item_states
        longer = model.extended(states[:3]).score(EVERYONE)
        np.testing.assert_allclose(longer[:, NUM_ITEMS:], longer[:, :3], atol=1e-5)

    def test_the_words_of_an_added_item_are_predicted_from_its_state(self, model, world):
        states, words = parts_of(world)
        known = world.prepared.train.item_degree > 0
        raw = Profiles.load(world.cell.step("profile")).item_states
        predicted = model.extended(raw[:3]).item[-3:] - model.item[:3]
        width = states.shape[1]
        np.testing.assert_allclose(predicted[:, :width], 0, atol=1e-5)
        centred = raw - raw[known].mean(0)
        level = np.square(centred[known]).sum() / width
        gram = centred[known].T @ centred[known] + level * np.eye(width)
        expected = centred[:3] @ np.linalg.solve(gram, centred[known].T @ words[known])
        expected = np.sqrt(0.5) * expected
        np.testing.assert_allclose(model.extended(raw[:3]).item[-3:, width:], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["word-ridge", "text-ridge"])
def test_a_known_item_as_new_is_scored_by_weights_that_were_fitted_without_it(tmp_path, name):
    world = World.write(tmp_path)
    model = world.train(name, {f"settings.{name}.l2": 0.1})
    train = world.prepared.train
    history = history_matrix(train).toarray()
    shown = np.array([0, 7])
    found = model.as_new(shown).score(EVERYONE)
    gram = np.linalg.inv(model.inverse.astype(float))
    for item in shown:
        row = model.item[item].astype(float)
        others = history @ model.item - np.outer(history[:, item], row)
        expected = others @ np.linalg.solve(gram - np.outer(row, row), row)
        without = history[:, item] == 0
        np.testing.assert_allclose(found[without, item], expected[without], rtol=1e-3, atol=1e-5)
        before = model.score(EVERYONE)[without, item]
        assert np.abs(expected[without] - before).max() > 0.01
    kept = np.setdiff1d(np.arange(NUM_ITEMS), shown)
    np.testing.assert_array_equal(found[:, kept], model.score(EVERYONE)[:, kept])


def test_texts_that_say_nothing_are_no_error():
    np.testing.assert_array_equal(ridge_inverse(np.zeros((4, 3)), 5.0), np.eye(3))


class TestGLTAPlus(MethodContract):
    name = "glta-plus"

    @pytest.fixture(scope="class")
    @classmethod
    def world(cls, tmp_path_factory):
        return with_glta(World.write(tmp_path_factory.mktemp("world")))

    def test_the_read_outs_are_those_of_glta(self, model, world):
        head, _ = load_arrays(world.cell.model("glta") / "model.safetensors")
        aligner, _ = load_arrays(world.cell.model("glta") / "aligner.safetensors")
        logits = aligner["states"][:, 0] @ head["weight"].T + head["bias"]
        part = model.parts["glta"]
        assert isinstance(part, ReadOutScores)
        np.testing.assert_allclose(part.score(EVERYONE), logits, atol=1e-5)
        names = ["cease", "lightgcn", "text-ridge"]
        assert list(model.parts) == [*names, "glta"]
        found = [world.train(name).score(EVERYONE) for name in names]
        found = [standardized(scores) for scores in (*found, logits)]
        expected = sum(weight * part for weight, part in zip(model.mix, found, strict=True))
        np.testing.assert_allclose(model.score(EVERYONE), expected, atol=1e-3)

    def test_newcomers_are_scored_without_read_outs(self, model, world):
        mix = (0.1, 0.3, 0.2, 0.4)
        model = replace(model, mix=mix)
        history = history_matrix(world.prepared.train)[:3]
        names = ["cease", "lightgcn", "text-ridge"]
        found = [standardized(model.parts[name].score_histories(history)) for name in names]
        expected = sum(w / 0.6 * part for w, part in zip(mix, found, strict=False))
        np.testing.assert_allclose(model.score_histories(history), expected, atol=1e-5)

    def test_the_items_of_newcomers_are_weighed_by_their_age(self, model, world):
        histories = world.prepared.sequences
        recent = replace(model.parts["cease"], recency=0.3).with_histories(histories)
        alone = {"mix": (1.0, 0.0, 0.0, 0.0), "new_mix": (1.0, 0.0, 0.0, 0.0)}
        model = replace(model, parts={**model.parts, "cease": recent}, **alone)
        np.testing.assert_allclose(
            model.score_newcomers(histories), model.score(EVERYONE), atol=1e-5
        )

    def test_newcomers_get_lists_when_the_read_outs_have_all_the_weight(self, model, world):
        model = replace(model, mix=(0.0, 0.0, 0.0, 1.0))
        assert np.allclose(model.for_newcomers().mix, 1 / 3)
        history = history_matrix(world.prepared.train)[:3]
        assert model.score_histories(history).std() > 0.1

    def test_read_outs_score_no_added_item(self, model):
        assert model.new_mix[-1] == 0
        longer = replace(model, mix=(0.0, 0.0, 0.0, 1.0), new_mix=(0.0,) * 4)
        added = longer.extended(block_states(2)).score(EVERYONE)[:, NUM_ITEMS:]
        np.testing.assert_array_equal(added, 0)


@pytest.mark.parametrize(
    ("ablation", "names"),
    [
        ("text-ridge", ["cease", "lightgcn", "text-ridge"]),
        ("words", ["ease", "lightgcn", "word-ridge"]),
    ],
)
def test_an_ablation_leaves_its_part_out(world, ablation, names):
    model = world.train(f"blend-{ablation}")
    assert isinstance(model, Blended)
    assert list(model.parts) == names


def test_a_blend_of_words_refuses_an_item_without_words(world):
    model = world.train("blend-words")
    with pytest.raises(ValueError, match="needs the words of an item"):
        model.extended(block_states(2))
