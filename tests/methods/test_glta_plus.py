"""GLTA+ against its definition, and against itself with a part taken away."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.validation import validation_ndcg
from glta.methods.ease.model import item_weights
from glta.methods.glta_plus.model import (
    COMPONENTS,
    STRENGTHS,
    GLTAPlus,
    leave_one_out_columns,
    simplex,
    token_map,
)
from glta.methods.shared.graph_scores import GraphScores
from glta.methods.shared.text_space import TextScores, text_vectors
from glta.params.model import Params
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


def at_random(prepared: Prepared) -> tuple[GLTAPlus, Prepared]:
    """Make a model of 60 users and 40 items whose texts, graph and pairs tell a little of each
    other, and its data.
    """
    rng = np.random.default_rng(4)
    user, item = (rng.normal(size=(size, 4)).astype(np.float32) for size in (60, 40))
    liked = np.argsort(-(user @ item.T + 2 * rng.normal(size=(60, 40))), axis=1)[:, :12]
    train, valid = (
        Interactions.of(np.repeat(np.arange(60), 6), part.ravel(), 60, 40)
        for part in (liked[:, :6], liked[:, 6:])
    )
    states = np.concatenate(
        [item + rng.normal(size=(40, 4)), rng.normal(size=(40, 4))], axis=1
    ).astype(np.float32)
    graph = GraphScores(user + rng.normal(size=(60, 4)).astype(np.float32), item, item)
    text, history = TextScores(*text_vectors(states, train)), history_matrix(train)
    weights, diagonal = token_map(history, text.item, 5.0, 5.0, 0.4)
    model = GLTAPlus(
        history, weights, diagonal, 5.0, (1.0, 1.0), graph, text, (0.6, 0.2, 0.2), (0.6, 0.2, 0.2)
    )
    return model.calibrated(), replace(prepared, train=train, valid=valid)


class TestGLTAPlus(MethodContract):
    name = "glta-plus"

    def test_map_minimises_the_loss(self, pairs, text):
        """The closed form is where a general optimiser ends that only knows the loss and the zero
        diagonal.
        """
        x, l2, text_weight, power = history_matrix(pairs).toarray().astype(float), 3.0, 2.0, 0.5
        count = np.maximum(x.sum(1, keepdims=True), 1)
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
        weights, _ = token_map(history_matrix(pairs), text, l2, text_weight, power)
        assert weights.dtype == np.float32
        assert (weights[~free] == 0).all()
        np.testing.assert_allclose(weights[free], found.x, atol=1e-5)

    def test_without_text_and_weighting_the_map_is_that_of_ease(self, pairs, text):
        weights, _ = token_map(history_matrix(pairs), text, 3.0, 0.0, 0.0)
        np.testing.assert_allclose(weights, item_weights(history_matrix(pairs), 3.0), atol=1e-6)

    def test_text_alone_tells_an_item_that_nobody_has(self, pairs, text):
        text[0] = text[5]
        weights, _ = token_map(history_matrix(pairs), text, 1.0, 50.0, 0.5)
        assert weights[:, 0].argmax() == 5
        assert np.abs(token_map(history_matrix(pairs), text, 1.0, 0.0, 0.5)[0][:, 0]).max() == 0

    def test_mix_is_the_best_on_validation(self, model, world):
        def value(mix):
            return round(validation_ndcg(world.prepared, replace(model, mix=tuple(mix)).score), 12)

        tried = simplex(Params().settings.glta_plus.weight_steps)
        assert value(model.mix) == max(map(value, tried))
        assert model.mix in [tuple(mix) for mix in tried]

    @pytest.mark.parametrize("left_out", range(3))
    def test_what_is_left_out_has_no_weight(self, world, left_out):
        names = [name for name in COMPONENTS if name != COMPONENTS[left_out]]
        model = world.train(self.name, {"settings.glta-plus.components": names})
        assert (model.mix[left_out], model.new_mix[left_out]) == (0, 0)
        assert sum(model.mix) == pytest.approx(1)
        alone = world.train(self.name, {"settings.glta-plus.components": names[:1]})
        assert alone.mix == tuple(float(name == names[0]) for name in COMPONENTS)

    def test_mix_of_new_items_is_the_best_on_validation_as_if_known_ones_were_new(self, world):
        """Four items of 40 are shown, a tenth.

        Their lists choose the mix, lists of all items its strength.
        """
        model, prepared = at_random(world.prepared)
        mixes, shown, users = simplex(6), np.arange(0, 40, 10), np.arange(60)
        told = leave_one_out_columns(
            model.weights, model.diagonal, model.text.item, shown, model.text_weight
        )
        weights, item, diagonal = (
            model.weights.copy(),
            model.graph.item.copy(),
            model.diagonal.copy(),
        )
        weights[:, shown], diagonal[shown] = model.gains[0] * told, 0
        item[shown] = model.gains[1] * told.T @ model.graph.item
        as_new = replace(
            model, weights=weights, diagonal=diagonal, graph=replace(model.graph, item=item)
        )
        valid = prepared.valid
        kept = np.isin(valid.item, shown)
        of_shown = replace(prepared, valid=Interactions(valid.user[kept], valid.item[kept], 60, 40))

        def alone(mix):
            scores = replace(as_new, new_mix=tuple(mix)).score(users)
            scores[:, np.setdiff1d(np.arange(40), shown)] = -np.inf
            return round(validation_ndcg(of_shown, lambda part: scores[part]), 12)

        def together(strength):
            return round(
                validation_ndcg(prepared, replace(as_new, new_mix=tuple(strength * best)).score), 12
            )

        best = max(mixes, key=alone)
        values = np.array([together(strength) for strength in STRENGTHS])
        strength = STRENGTHS[values >= 0.99 * values.max()].max()
        assert len({alone(mix) for mix in mixes}) > 5
        assert best[1] > 0
        assert STRENGTHS[values.argmax()] < strength < STRENGTHS[-1]
        np.testing.assert_allclose(model.with_new_mix(prepared, mixes).new_mix, strength * best)

    def test_without_validation_pairs_new_items_are_mixed_as_known_ones(self, model, world):
        prepared = world.prepared
        kept = ~np.isin(prepared.valid.item, [0, 10])
        valid = Interactions(
            prepared.valid.user[kept], prepared.valid.item[kept], prepared.valid.num_users, 20
        )
        found = model.with_new_mix(replace(prepared, valid=valid), simplex(3))
        assert found.new_mix == model.mix

    def test_simplex(self):
        found = simplex(3)
        np.testing.assert_allclose(found.sum(1), 1)
        assert {tuple(mix) for mix in found} == {
            (0, 0, 1),
            (0, 0.5, 0.5),
            (0, 1, 0),
            (0.5, 0, 0.5),
            (0.5, 0.5, 0),
            (1, 0, 0),
        }

    def test_large_catalogue_is_refused(self, world):
        with pytest.raises(
            ValueError, match=r"20 items need .* GB, more than settings\.glta-plus\.max_items = 19"
        ):
            world.train(self.name, {"settings.glta-plus.max_items": 19})
