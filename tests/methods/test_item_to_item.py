"""Item-kNN and EASE against their definitions."""

import numpy as np
import pytest
from scipy.optimize import minimize

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.methods.ease.model import EASE, item_weights
from glta.methods.item_knn import model
from glta.methods.item_knn.model import ItemKNN, neighbours
from glta.testing.contract import MethodContract


@pytest.fixture
def pairs() -> Interactions:
    """Random pairs of 30 users and 12 items; user 0 has none, item 0 has none."""
    present = np.random.default_rng(3).random((30, 12)) < 0.3
    present[0], present[:, 0] = False, False
    return Interactions.of(*np.nonzero(present), 30, 12)


class TestItemKNN(MethodContract):
    name = "item-knn"

    @pytest.mark.parametrize("block", [1, 2**24])
    @pytest.mark.parametrize(("near", "shrinkage"), [(3, 0.0), (3, 5.0), (50, 5.0)])
    def test_neighbours_are_the_definition(self, pairs, monkeypatch, near, shrinkage, block):
        monkeypatch.setattr(model, "BLOCK_PRODUCTS", block)
        users = [set(pairs.user[pairs.item == i].tolist()) for i in range(12)]
        expected = np.zeros((12, 12))
        for i in range(12):
            similar = {
                j: len(users[i] & users[j]) / (np.sqrt(len(users[i]) * len(users[j])) + shrinkage)
                for j in range(12)
                if j != i and users[i] & users[j]
            }
            for j in sorted(similar, key=lambda j: (-np.float32(similar[j]), j))[:near]:
                expected[i, j] = similar[j]
        np.testing.assert_allclose(
            neighbours(history_matrix(pairs), near, shrinkage).toarray(), expected, atol=1e-7
        )

    def test_score_sums_the_similarities_of_the_users_items(self, pairs):
        similar = neighbours(history_matrix(pairs), 4, 2.0)
        scores = ItemKNN(history_matrix(pairs), similar).score(np.arange(30))
        for user in range(30):
            expected = [sum(similar[i, j] for j in pairs.items_of(user)) for i in range(12)]
            np.testing.assert_allclose(scores[user], expected, atol=1e-6)


class TestEASE(MethodContract):
    name = "ease"

    def test_weights_minimise_the_loss(self, pairs):
        """The closed form is where a general optimiser ends that only knows the loss and the zero
        diagonal.
        """
        x, l2 = history_matrix(pairs).toarray().astype(float), 3.0
        free = ~np.eye(12, dtype=bool)

        def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
            weights = np.zeros((12, 12))
            weights[free] = values
            error = x @ weights - x
            return (error**2).sum() + l2 * (weights**2).sum(), (2 * x.T @ error + 2 * l2 * weights)[
                free
            ]

        found = minimize(
            loss,
            np.zeros(free.sum()),
            jac=True,
            method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-10},
        )
        weights = item_weights(history_matrix(pairs), l2)
        assert weights.dtype == np.float32
        assert (np.diag(weights) == 0).all()
        np.testing.assert_allclose(weights[free], found.x, atol=1e-5)

    def test_score_is_the_history_times_the_weights(self, pairs):
        weights = item_weights(history_matrix(pairs), 3.0)
        expected = history_matrix(pairs).toarray() @ weights
        np.testing.assert_allclose(
            EASE(history_matrix(pairs), weights).score(np.arange(30)), expected, atol=1e-6
        )

    def test_large_catalogue_is_refused(self, world):
        with pytest.raises(
            ValueError, match=r"20 items need .* GB, more than settings\.ease\.max_items = 19"
        ):
            world.train(self.name, {"settings.ease.max_items": 19})
