"""SLIM, iALS and GF-CF against their definitions."""

import json
from typing import ClassVar

import numpy as np
import pytest
from scipy.sparse import csc_array
from sklearn.linear_model import ElasticNet

from glta.data.histories import history_matrix, recent_matrix
from glta.data.interactions import Interactions
from glta.data.sequences import Sequences
from glta.evaluation.validation import validation_ndcg
from glta.methods.base import Job, Scorer
from glta.methods.chain import place_of
from glta.methods.gf_cf.model import GFCF, low_pass
from glta.methods.ials.alternation import Alternation
from glta.methods.ials.conjugate_gradients import blocks_of
from glta.methods.ials.model import IALS, TrainIALS, solve_users
from glta.methods.ials.spec import IALSSettings
from glta.methods.slim import model as slim
from glta.methods.slim.model import SLIM, largest, sparse_weights
from glta.testing.blocks import NUM_ITEMS
from glta.testing.contract import MethodContract


@pytest.fixture
def pairs() -> Interactions:
    """Random pairs of 40 users and 12 items; user 0 has none, item 0 has none."""
    present = np.random.default_rng(3).random((40, 12)) < 0.3
    present[0], present[:, 0] = False, False
    return Interactions.of(*np.nonzero(present), 40, 12)


LATER = Sequences.of_lists([[0, 1, 2], [3], [2, 4]], NUM_ITEMS)


def reads_other_histories(model: Scorer) -> None:
    """Fail unless users are scored by the items that they have now."""
    users = np.arange(3)
    other = model.with_histories(LATER)
    expected = model.score_histories(recent_matrix(LATER, decay=1))
    np.testing.assert_allclose(other.score(users), expected, atol=1e-6)
    assert np.abs(expected - model.score(users)).max() > 0.01


class TestSLIM(MethodContract):
    name = "slim"
    values: ClassVar = {"settings.slim.l2": 1.0, "settings.slim.l1": 0.1}

    @pytest.mark.parametrize(("l1", "l2"), [(0.3, 2.0), (2.0, 0.5)])
    def test_weights_are_those_of_an_elastic_net_for_each_item(self, pairs, monkeypatch, l1, l2):
        monkeypatch.setattr(slim, "TOLERANCE", 1e-7)
        monkeypatch.setattr(slim, "MOST_SWEEPS", 2000)
        x = history_matrix(pairs).toarray().astype(float)
        found = sparse_weights(history_matrix(pairs), l1, l2).toarray()
        net = ElasticNet(
            alpha=(l1 + l2) / len(x),
            l1_ratio=l1 / (l1 + l2),
            positive=True,
            fit_intercept=False,
            tol=1e-12,
            max_iter=100_000,
        )
        for item in range(12):
            others = x.copy()
            others[:, item] = 0
            expected = net.fit(others, x[:, item]).coef_ if x[:, item].any() else np.zeros(12)
            np.testing.assert_allclose(found[:, item], expected, atol=1e-4)
        assert 0 < np.count_nonzero(found) < 11 * 10  # some weights are 0, some are not

    def test_the_tolerance_is_near_the_optimum(self, pairs):
        """The conditions of Karush, Kuhn and Tucker hold up to the tolerance."""
        x, l1, l2 = history_matrix(pairs).toarray().astype(float), 0.3, 2.0
        weights = sparse_weights(history_matrix(pairs), l1, l2).toarray().astype(float)
        slope = x.T @ (x @ weights - x) + l2 * weights + l1
        np.fill_diagonal(slope, 0)
        assert np.abs(slope[weights > 0]).max() < 0.01
        assert slope[weights == 0].min() > -0.01

    def test_the_largest_weights_of_each_column_are_kept(self):
        weights = np.array([[0, 3, 1], [2, 0, 1], [5, 1, 0], [4, 0, 1]], np.float32)
        square = np.hstack([weights, np.zeros((4, 1), np.float32)])
        expected = np.array([[0, 3, 1, 0], [0, 0, 1, 0], [5, 1, 0, 0], [4, 0, 0, 0]])
        np.testing.assert_array_equal(largest(csc_array(square), 2).toarray(), expected)
        np.testing.assert_array_equal(largest(csc_array(square), 4).toarray(), square)

    def test_score_is_the_history_times_the_weights(self, pairs):
        history = history_matrix(pairs)
        weights = largest(sparse_weights(history, 0.3, 2.0), 3)
        assert (np.diff(weights.tocsc().indptr) <= 3).all()
        np.testing.assert_allclose(
            SLIM(history, weights, recency=1).score(np.arange(40)),
            history.toarray() @ weights.toarray(),
            atol=1e-6,
        )

    def test_later_items_count_without_a_new_fit(self, model):
        reads_other_histories(model)


OBJECTIVE = {"unobserved_weight": 0.2, "l2": 0.05, "frequency_power": 1.0}


class TestIALS(MethodContract):
    name = "ials"
    values: ClassVar = {"settings.ials.embedding_dim": 4, "settings.ials.l2": 0.03}

    def solved(self, x: np.ndarray, other: np.ndarray, power: float = 1.0) -> np.ndarray:
        """Solve the normal equations of every row, with a weight for every pair."""
        weight, l2 = OBJECTIVE["unobserved_weight"], OBJECTIVE["l2"]
        rows = []
        for row in x:
            penalty = l2 * (row.sum() + weight * len(row)) ** power
            left = other.T @ np.diag(row + weight) @ other + penalty * np.eye(other.shape[1])
            rows.append(np.linalg.solve(left, other.T @ row))
        return np.array(rows)

    @pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
    def test_new_users_solve_the_normal_equations(self, pairs, power):
        item = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
        found = solve_users(history_matrix(pairs), item, **OBJECTIVE | {"frequency_power": power})
        expected = self.solved(history_matrix(pairs).toarray(), item, power)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert (found[0] == 0).all()

    @pytest.mark.parametrize("power", [0.0, 1.0])
    @pytest.mark.parametrize("block", [1, 100, 10**6])
    def test_an_epoch_solves_for_users_and_then_for_items(self, pairs, monkeypatch, block, power):
        """Dot products are compared, because an epoch turns the basis of the embeddings."""
        monkeypatch.setattr("glta.methods.ials.conjugate_gradients.BLOCK_NUMBERS", block)
        settings = IALSSettings(
            embedding_dim=5, solver_steps=50, **OBJECTIVE | {"frequency_power": power}
        )
        task = Alternation(pairs, settings, seed=0, evaluate=lambda user, item: 0.0)
        x = history_matrix(pairs).toarray()
        expected_user = self.solved(x, task.embeddings()[1], power)
        expected_item = self.solved(x.T, expected_user, power)
        task.backward(None)
        user, item = task.embeddings()
        expected = np.concatenate([expected_user, expected_item])
        found = np.concatenate([user, item])
        np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)
        assert (user[0] == 0).all()
        assert (item[0] == 0).all()

    def test_few_steps_are_near_the_solution(self, pairs):
        """Every step leaves a part of the distance."""
        distance = []
        for steps in (1, 2, 3, 50):
            settings = IALSSettings(embedding_dim=5, solver_steps=steps, init_std=1.0, **OBJECTIVE)
            task = Alternation(pairs, settings, seed=0, evaluate=lambda user, item: 0.0)
            before = task.embeddings()[1].copy()
            task.users.solve(task.user, task.item)
            expected = self.solved(history_matrix(pairs).toarray(), before) @ before.T
            user, item = task.embeddings()
            distance.append(np.linalg.norm(user @ item.T - expected) / np.linalg.norm(expected))
        np.testing.assert_allclose(distance[:3], [0.544, 0.143, 0.032], rtol=0.05)
        assert distance[3] < 1e-5

    def test_rows_are_cut_into_blocks_of_few_pairs(self, pairs):
        history = history_matrix(pairs)
        blocks = blocks_of(history, 9)
        assert max(len(rows) for rows in (range(40)[rows] for rows, _ in blocks)) > 1
        found = np.zeros((40, 12))
        for rows, block in blocks:
            found[rows] += block.to_dense().numpy()
            assert len(block.values()) <= 9 or rows.stop - rows.start == 1
        np.testing.assert_array_equal(found, history.toarray())

    def test_the_start_has_the_deviation_of_its_settings(self, pairs):
        settings = IALSSettings(embedding_dim=400, init_std=2.0)
        task = Alternation(pairs, settings, seed=0, evaluate=lambda user, item: 0.0)
        user, item = task.embeddings()
        assert np.concatenate([user, item]).std() == pytest.approx(2.0 / 20, rel=0.02)
        assert not np.array_equal(user[:12], item)

    def test_keeps_the_best_epoch(self, model, prepared):
        values = {record["epoch"]: record["valid"] for record in model.history}
        assert values[model.best_epoch] == max(values.values())
        assert validation_ndcg(prepared, model.score) == pytest.approx(values[model.best_epoch])

    def test_a_known_user_folded_in_is_the_trained_one_in_the_end(self, pairs):
        settings = IALSSettings(embedding_dim=5, **OBJECTIVE)
        task = Alternation(pairs, settings, seed=0, evaluate=lambda user, item: 0.0)
        distance = []
        for _ in range(200):
            task.backward(None)
            user, item = task.embeddings()
            folded = solve_users(history_matrix(pairs), item, **OBJECTIVE)
            distance.append(abs(folded - user).max())
        assert distance[-1] < 1e-3 < distance[0]

    def test_a_resumed_run_equals_the_uninterrupted_one(self, world, tmp_path):
        class Stopped(Exception):
            pass

        def stop(record):
            if record["epoch"] == 2:
                raise Stopped

        def run(**more):
            sources = {"prepare": place_of(world.cell, "prepare")}
            settings = {"": IALSSettings(embedding_dim=8, epochs=6, patience=9)}
            return TrainIALS().run(Job("ials", sources, settings, seed=0, **more))

        whole = run()
        with pytest.raises(Stopped):
            run(checkpoint=tmp_path, on_epoch=stop)
        resumed = run(checkpoint=tmp_path)
        assert resumed.history == whole.history
        np.testing.assert_array_equal(resumed.user, whole.user)
        np.testing.assert_array_equal(resumed.item, whole.item)

    def test_what_is_loaded_scores_histories_alike(self, model, world, tmp_path):
        model.save(tmp_path)
        loaded = IALS.load(tmp_path)
        history = history_matrix(world.prepared.train)
        np.testing.assert_array_equal(
            loaded.score_histories(history), model.score_histories(history)
        )
        assert json.loads((tmp_path / "history.json").read_text()) == model.history


class TestGFCF(MethodContract):
    name = "gf-cf"

    def test_later_items_count_without_a_new_fit(self, model, tmp_path):
        """And the graph stays that of the training pairs, also of a model that is loaded."""
        reads_other_histories(model)
        other = model.with_histories(LATER)
        assert other.train is model.train
        other.save(tmp_path)
        users = np.arange(3)
        np.testing.assert_array_equal(GFCF.load(tmp_path).score(users), other.score(users))

    @pytest.mark.parametrize("rank", [1, 4, 12])
    def test_score_is_the_dense_formula(self, pairs, rank):
        x = history_matrix(pairs).toarray().astype(float)
        degree_U, degree_I = x.sum(1), x.sum(0)
        n = x / np.sqrt(np.outer(np.maximum(degree_U, 1), np.maximum(degree_I, 1)))
        values, vectors = np.linalg.eigh(n.T @ n)
        top = vectors[:, ::-1][:, :rank][:, values[::-1][:rank] > 1e-9]
        into = np.diag(1 / np.sqrt(np.maximum(degree_I, 1)))
        out = np.diag(np.sqrt(degree_I))
        expected = x @ (n.T @ n + 0.7 * into @ top @ top.T @ out)
        history = history_matrix(pairs)
        model = GFCF(history, history, low_pass(history, rank, seed=0), np.array(0.7, np.float32))
        assert model.vectors.shape == (12, min(rank, 11))  # item 0 has no users
        np.testing.assert_allclose(model.score(np.arange(40)), expected, atol=1e-5)
        np.testing.assert_allclose(model.score_histories(history[:3]), expected[:3], atol=1e-5)

    def test_the_randomised_vectors_are_the_top_ones(self):
        """300 users and 200 items: much larger than the rank and the oversamples."""
        present = np.random.default_rng(1).random((300, 200)) < 0.05
        pairs = Interactions.of(*np.nonzero(present), 300, 200)
        history = history_matrix(pairs)
        x = present.astype(float)
        n = x / np.sqrt(np.outer(np.maximum(x.sum(1), 1), np.maximum(x.sum(0), 1)))
        found = low_pass(history, 20, seed=0)
        caught = np.linalg.norm(n @ found) ** 2
        assert caught == pytest.approx((np.linalg.svd(n)[1][:20] ** 2).sum(), rel=1e-3)
        np.testing.assert_allclose(found.T @ found, np.eye(20), atol=1e-5)
