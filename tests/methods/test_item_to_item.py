"""Item-kNN and EASE against their definitions."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize
from scipy.sparse import csr_array

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.data.sequences import Sequences
from glta.methods.ease.model import EASE, item_weights, nearby_weights
from glta.methods.item_knn.model import ItemKNN
from glta.methods.shared import closed_form
from glta.methods.shared import similar_items as module
from glta.methods.shared.similar_items import similar_items
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
    @pytest.mark.parametrize("user_power", [0.0, 1.5])
    def test_neighbours_are_the_definition(
        self, pairs, monkeypatch, near, shrinkage, user_power, block
    ):
        monkeypatch.setattr(module, "BLOCK_PRODUCTS", block)
        users = [set(pairs.user[pairs.item == i].tolist()) for i in range(12)]

        def count(some: set[int]) -> float:
            return sum(float(pairs.user_degree[user]) ** -user_power for user in some)

        expected = np.zeros((12, 12))
        for i in range(12):
            similar = {
                j: count(users[i] & users[j])
                / (np.sqrt(count(users[i]) * count(users[j])) + shrinkage)
                for j in range(12)
                if j != i and users[i] & users[j]
            }
            for j in sorted(similar, key=lambda j: (-np.float32(similar[j]), j))[:near]:
                expected[i, j] = similar[j]
        np.testing.assert_allclose(
            similar_items(history_matrix(pairs), near, shrinkage, user_power=user_power).toarray(),
            expected,
            atol=1e-7,
        )

    def test_score_sums_the_similarities_of_the_users_items(self, pairs):
        similar = similar_items(history_matrix(pairs), 4, 2.0)
        scores = ItemKNN(history_matrix(pairs), similar.T.tocsr(), 1.0).score(np.arange(30))
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
            EASE(history_matrix(pairs), weights, 1.0).score(np.arange(30)), expected, atol=1e-6
        )

    def test_large_catalogue_is_refused(self, world):
        with pytest.raises(
            ValueError,
            match=r"20 items takes 4\.8e-06 GB .* than settings\.ease\.max_gb = 4e-06; raise it, "
            r"set settings\.ease\.neighbours, or take ease out",
        ):
            world.train(self.name, {"settings.ease.max_gb": 4e-6})
        values = {"settings.ease.max_gb": 4e-6, "settings.ease.neighbours": 5}
        assert world.train(self.name, values).weights.nnz <= 5 * 20

    @pytest.mark.parametrize("block", [1, 5, 2000])
    def test_the_map_is_the_same_in_any_blocks(self, pairs, monkeypatch, block):
        monkeypatch.setattr(closed_form, "BLOCK", block)
        x = history_matrix(pairs).toarray().astype(float)
        inverse = np.linalg.inv(x.T @ x + 3 * np.eye(12))
        expected = np.eye(12) - inverse / np.diag(inverse)
        np.testing.assert_allclose(item_weights(history_matrix(pairs), 3.0), expected, atol=1e-6)

    def test_nearest_items_alone_are_a_ridge_regression_on_them(self, pairs):
        x = history_matrix(pairs).toarray().astype(float)
        near = similar_items(history_matrix(pairs), 4, 0.0)
        found = nearby_weights(history_matrix(pairs), 3.0, 4).toarray()
        for item in range(12):
            own = near[[item]].indices
            a = x[:, own]
            expected = np.zeros(12)
            expected[own] = np.linalg.solve(a.T @ a + 3 * np.eye(len(own)), a.T @ x[:, item])
            np.testing.assert_allclose(found[:, item], expected, atol=1e-6)
        assert np.count_nonzero(found[:, 5]) == 4

    def test_all_items_as_neighbours_are_the_exact_map(self):
        """Every two items share a user."""
        present = np.random.default_rng(3).random((60, 12)) < 0.4
        history = history_matrix(Interactions.of(*np.nonzero(present), 60, 12))
        assert (history.T @ history).toarray().min() > 0
        np.testing.assert_allclose(
            nearby_weights(history, 3.0, 11).toarray(), item_weights(history, 3.0), atol=1e-6
        )

    def test_a_sparse_map_is_widened_as_a_dense_one(self, pairs):
        dense = EASE(history_matrix(pairs), item_weights(history_matrix(pairs), 3.0), 1.0)
        sparse = replace(dense, weights=csr_array(dense.weights))
        columns = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
        users = np.arange(30)
        wide = sparse.widened(columns)
        np.testing.assert_allclose(
            wide.score(users), dense.widened(columns).score(users), atol=1e-6
        )
        assert wide.score(users).dtype == np.float32


@pytest.mark.parametrize("name", ["item-knn", "ease", "cease"])
class TestRecency:
    def test_items_count_by_their_age(self, world, name):
        model = world.train(name, {f"settings.{name}.recency": 0.7})
        alike = world.train(name)
        weights = (
            alike.weights if isinstance(alike.weights, np.ndarray) else alike.weights.toarray()
        )
        for user in (0, 7):
            items = world.prepared.sequences.of_user(user).item  # oldest first
            expected = sum(0.7**age * weights[item] for age, item in enumerate(items[::-1]))
            np.testing.assert_allclose(model.score(np.array([user]))[0], expected, atol=1e-6)

    def test_histories_at_test_time_hold_the_validation_items(self, world, name):
        model = world.train(name, {f"settings.{name}.recency": 0.7})
        later = model.with_histories(world.prepared.seen_sequences)
        rows = world.prepared.seen_sequences.of_user(4).item
        one = model.with_histories(Sequences.of_lists([rows], 20)).score(np.array([0]))
        np.testing.assert_allclose(later.score(np.array([4])), one, atol=1e-6)
        assert np.abs(later.score(np.array([4])) - model.score(np.array([4]))).max() > 0.01

    def test_data_without_times_are_refused(self, world, name):
        parts = {
            part: frame.with_columns(timestamp=pl.lit(None, pl.Int64))
            for part, frame in world.prepared.parts.items()
        }
        untimed = replace(world.prepared, parts=parts)
        with pytest.raises(ValueError, match=f"{name}: needs a time in every training interaction"):
            world.train(name, {f"settings.{name}.recency": 0.7}, prepared=untimed)
        world.train(name, prepared=untimed)
