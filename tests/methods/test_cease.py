"""CEASE against its definition."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.features.profiles import Profiles
from glta.methods.cease.model import weights_with_text
from glta.methods.ease.model import item_weights
from glta.methods.shared.side_information import gain_of
from glta.methods.shared.text_words import word_vectors
from glta.testing.blocks import NUM_USERS, World
from glta.testing.contract import MethodContract


@pytest.fixture
def pairs() -> Interactions:
    """Random pairs of 30 users and 12 items; user 0 has none, item 0 has none."""
    present = np.random.default_rng(3).random((30, 12)) < 0.3
    present[0], present[:, 0] = False, False
    return Interactions.of(*np.nonzero(present), 30, 12)


@pytest.fixture
def text() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(12, 5)).astype(np.float32)


class TestCEASE(MethodContract):
    name = "cease"

    def test_map_minimises_the_loss(self, pairs, text):
        """The closed form is where a general optimiser ends that only knows the loss and the zero
        diagonal.
        """
        x, l2, text_weight, power = history_matrix(pairs).toarray().astype(float), 3.0, 2.0, 0.5
        x = x[x.any(1)]
        count = x.sum(1, keepdims=True)
        scale = np.sqrt((count / count.mean()) ** -power)
        free = ~np.eye(12, dtype=bool)
        free[0] = False  # nobody has item 0

        def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
            weights = np.zeros((12, 12))
            weights[free] = values
            graph, language = scale * (x @ weights - x), text.T @ weights - text.T
            value = (graph**2).sum() + text_weight * (language**2).sum() + l2 * (weights**2).sum()
            slope = 2 * (scale * x).T @ graph + 2 * text_weight * text @ language + 2 * l2 * weights
            return value, slope[free]

        found = minimize(
            loss,
            np.zeros(free.sum()),
            jac=True,
            method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-10},
        )
        weights, _ = weights_with_text(history_matrix(pairs), text, l2, text_weight, power)
        assert weights.dtype == np.float32
        assert (weights[~free] == 0).all()
        np.testing.assert_allclose(weights[free], found.x, atol=1e-5)

    def test_users_without_items_change_nothing(self, pairs, text):
        more = Interactions(pairs.user, pairs.item, 3 * pairs.num_users, pairs.num_items)
        found, expected = (
            weights_with_text(history_matrix(each), text, 3.0, 2.0, 0.5)[0]
            for each in (more, pairs)
        )
        np.testing.assert_allclose(found, expected, atol=1e-7)

    def test_without_text_and_weighting_the_map_is_that_of_ease(self, pairs, text):
        weights, _ = weights_with_text(history_matrix(pairs), text, 3.0, 0.0, 0.0)
        np.testing.assert_allclose(weights, item_weights(history_matrix(pairs), 3.0), atol=1e-6)

    def test_text_alone_tells_an_item_that_nobody_has(self, pairs, text):
        text[0] = text[5]
        weights, _ = weights_with_text(history_matrix(pairs), text, 1.0, 50.0, 0.5)
        assert weights[:, 0].argmax() == 5
        without, _ = weights_with_text(history_matrix(pairs), text, 1.0, 0.0, 0.5)
        assert np.abs(without[:, 0]).max() == 0

    def test_large_catalogue_is_refused(self, world):
        with pytest.raises(
            ValueError, match=r"20 items takes 4\.8e-06 GB .* than settings\.cease\.max_gb = 4e-06"
        ):
            world.train(self.name, {"settings.cease.max_gb": 4e-6})

    def test_columns_of_new_items_spread_as_those_of_known_ones(self, world):
        model = world.train(self.name)
        learnt, left_out = (
            model.history @ columns
            for columns in (model.weights, model.columns_left_out(np.arange(20)))
        )
        assert model.gain == pytest.approx(gain_of(learnt, left_out))
        assert model.gain > 1

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_rows_are_states_and_words_of_length_1(self, world, share):
        profiles = Profiles.load(world.cell.step("profile"))
        known = world.prepared.train.item_degree > 0
        parts = []
        for rows, part in (
            (profiles.item_states, share),
            (word_vectors(profiles.items["text"], 768, 0), 1 - share),
        ):
            centred = rows - rows[known].mean(0)
            parts.append(np.sqrt(part) * centred / np.linalg.norm(centred[known], axis=1).mean())
        expected = np.concatenate(parts, 1)
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        expected = expected[:, expected.any(0)]
        model = world.train(self.name, {"settings.cease.state_share": share})
        found = model.text[:, model.text.any(0)]
        np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)

    def test_words_alone_need_no_language_model_and_take_no_new_items(self, tmp_path):
        world = World.write(tmp_path)
        model = world.train("cease-words")
        profiles = Profiles.load(folder := world.cell.step("profile"))
        states = profiles.item_states
        with pytest.raises(ValueError, match="CEASE needs the words of an item to score it"):
            model.extended(states[:1])
        replace(profiles, item_states=-states[::-1]).save(folder)
        users = np.arange(NUM_USERS)
        np.testing.assert_array_equal(world.train("cease-words").score(users), model.score(users))
        assert world.train("cease-states-and-words").extended(states[:1]).text.shape[0] == 21
