"""Blends of several methods against their definition, and against themselves with a part taken
away.
"""

import itertools
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.validation import validation_ndcg
from glta.features.profiles import Profiles
from glta.methods.blend.model import Blend
from glta.methods.cease.model import CEASE, weights_with_text
from glta.methods.shared.blended import STRENGTHS, simplex
from glta.methods.shared.graph_scores import GraphScores
from glta.methods.shared.standardized import standardized
from glta.methods.shared.text_space import TextScores, text_vectors
from glta.params.check import ParamsError, check_params
from glta.params.model import Params
from glta.testing.blocks import NUM_USERS
from glta.testing.contract import MethodContract
from tests.methods.test_sasrec import QUICK

EVERYONE = np.arange(NUM_USERS)
WITH_CEASE = {"settings.blend.components": ["cease", "lightgcn", "text-knn"]}


def at_random(prepared: Prepared, seed: int = 4) -> tuple[Blend, Prepared]:
    """Make a blend for 60 users and 40 items whose texts, graph and pairs tell a little of each
    other, and its data.
    """
    rng = np.random.default_rng(seed)
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
    text = TextScores(*text_vectors(states, train))
    history = history_matrix(train)
    weights, diagonal = weights_with_text(history, text.item, 5.0, 5.0, 0.4)
    maps = text.mean, np.eye(text.mean.size, dtype=np.float32)
    cease = CEASE(history, weights, 1.0, diagonal, text.item, 5.0, 1.0, *maps).calibrated()
    parts = {"cease": cease, "lightgcn": graph, "text-knn": text}
    model = Blend(parts, np.ones(40, bool), (0.6, 0.2, 0.2), (0.6, 0.2, 0.2))
    return model.calibrated(), replace(prepared, train=train, valid=valid)


def test_simplex():
    found = simplex(3, 3)
    np.testing.assert_allclose(found.sum(1), 1)
    assert [tuple(mix) for mix in found] == [
        (0, 0, 1),
        (0, 0.5, 0.5),
        (0, 1, 0),
        (0.5, 0, 0.5),
        (0.5, 0.5, 0),
        (1, 0, 0),
    ]
    assert [tuple(mix) for mix in simplex(3, 2)] == [(0, 1), (0.5, 0.5), (1, 0)]


class TestBlend(MethodContract):
    name = "blend"

    def test_score_is_the_sum_of_the_standardised_scores_of_the_methods(self, model, world):
        names = Params().settings.blend.components
        found = [standardized(world.train(name).score(EVERYONE)) for name in names]
        expected = sum(weight * part for weight, part in zip(model.mix, found, strict=True))
        assert names == ["ease", "lightgcn", "text-knn"]
        np.testing.assert_allclose(model.score(EVERYONE), expected, atol=1e-5)

    @pytest.mark.parametrize("values", [{}, WITH_CEASE])
    def test_mix_is_the_best_on_validation(self, world, values):
        model = world.train(self.name, values)

        def value(mix):
            return round(validation_ndcg(world.prepared, replace(model, mix=tuple(mix)).score), 12)

        tried = simplex(Params().settings.blend.weight_steps, 3)
        assert value(model.mix) == max(map(value, tried))
        assert model.mix in [tuple(mix) for mix in tried]

    def test_any_two_components_can_be_blended(self, world):
        names = ("ease", "cease", "lightgcn", "text-knn", "text-ridge")
        features = np.random.default_rng(5).normal(size=(3, 8)).astype(np.float32)
        for pair in itertools.combinations(names, 2):
            model = world.train(self.name, {"settings.blend.components": list(pair)})
            assert list(model.parts) == list(pair)
            assert sum(model.mix) == pytest.approx(1)
            if pair == ("ease", "lightgcn"):
                with pytest.raises(
                    ValueError, match="none of its components scores items by their text"
                ):
                    model.extended(features)
            else:
                assert np.isfinite(model.extended(features).score(EVERYONE)[:, 20:]).all()
                able = {"cease", "text-knn", "text-ridge"}
                able |= {"lightgcn"} if "cease" in pair else set()
                for name, weight in zip(pair, model.new_mix, strict=True):
                    assert weight == 0 or name in able

    def test_the_ablation_blends_cease_in_place_of_ease(self, world):
        found = world.train("blend-cease")
        expected = world.train(self.name, WITH_CEASE)
        np.testing.assert_array_equal(found.score(EVERYONE), expected.score(EVERYONE))
        assert list(found.parts) == ["cease", "lightgcn", "text-knn"]

    def test_new_items_are_mixed_as_known_ones_without_a_component_that_reads_text(self, world):
        model = world.train(self.name, {"settings.blend.components": ["ease", "lightgcn"]})
        assert model.new_mix == model.mix

    def test_graph_embedding_of_a_new_item_is_the_sum_with_the_weights_of_its_column(self, world):
        model, _ = at_random(world.prepared)
        states = np.random.default_rng(6).normal(size=(2, 8)).astype(np.float32)
        longer = model.extended(states)
        columns = longer.parts["cease"].weights[:40, 40:] / model.parts["cease"].gain
        np.testing.assert_allclose(
            longer.parts["lightgcn"].item[40:],
            model.gain * columns.T @ model.parts["lightgcn"].item,
            rtol=1e-4,
        )
        assert model.gain > 1

    @pytest.mark.parametrize("seed", range(8))
    def test_mix_of_new_items_is_the_best_on_validation_as_if_known_ones_were_new(
        self, world, seed
    ):
        """Four items of 40 are shown, a tenth.

        Their lists choose the mix, lists of all items its strength. All users with a validation
        pair of these items have a say, also those without a training item among them.
        """
        model, prepared = at_random(world.prepared, seed)
        mixes, shown, users = simplex(6, 3), np.arange(0, 40, 10), np.arange(60)
        cease, graph = model.parts["cease"], model.parts["lightgcn"]
        told = cease.columns_left_out(shown)
        weights, item, known = cease.weights.copy(), graph.item.copy(), np.ones(40, bool)
        weights[:, shown], known[shown] = cease.gain * told, False
        item[shown] = model.gain * told.T @ graph.item
        parts = {"cease": replace(cease, weights=weights), "lightgcn": replace(graph, item=item)}
        as_new = replace(model, parts=model.parts | parts, known=known)
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
        if seed == 4:  # the best strength is not the greatest that is allowed
            assert best[1] > 0
            assert STRENGTHS[values.argmax()] < strength < STRENGTHS[-1]
        np.testing.assert_allclose(model.with_new_mix(prepared, mixes).new_mix, strength * best)

    def test_without_validation_pairs_new_items_are_mixed_as_known_ones(self, model, world):
        prepared = world.prepared
        kept = ~np.isin(prepared.valid.item, [0, 10])
        valid = Interactions(
            prepared.valid.user[kept], prepared.valid.item[kept], prepared.valid.num_users, 20
        )
        found = model.with_new_mix(replace(prepared, valid=valid), simplex(3, 3))
        assert found.new_mix == model.mix

    def test_users_without_training_items_choose_where_nobody_else_can(self, world):
        """As in `measured_users`: they alone have validation pairs of the items that are shown."""
        model, prepared = at_random(world.prepared)
        train, valid = prepared.train, prepared.valid
        theirs = np.isin(valid.user, np.unique(valid.user[np.isin(valid.item, [0, 10, 20, 30])]))
        kept = ~np.isin(train.user, np.unique(valid.user[theirs]))
        fewer = replace(prepared, train=Interactions(train.user[kept], train.item[kept], 60, 40))
        with np.errstate(invalid="raise"):  # a mean over nobody
            found = model.with_new_mix(fewer, simplex(3, 3))
        assert found.new_mix != model.mix

    def test_a_component_named_twice_is_refused(self):
        settings = {"blend": {"components": ["ease", "ease"]}}
        with pytest.raises(ParamsError, match=r"settings\.blend\.components.*names ease twice"):
            check_params({"settings": settings})


class TestLightGCNTextKNN(MethodContract):
    name = "lightgcn-text-knn"

    def test_weight_is_the_best_on_validation_and_of_equals_the_smallest(self, world):
        model = world.train(self.name, {"settings.lightgcn-text-knn.weight_steps": 5})
        parts = [standardized(world.train(name).score(EVERYONE)) for name in model.parts]

        def value(weight):
            scores = weight * parts[0] + (1 - weight) * parts[1]
            return round(validation_ndcg(world.prepared, lambda users: scores[users]), 12)

        assert list(model.parts) == ["lightgcn", "text-knn"]
        weights = np.linspace(0, 1, 5)
        assert model.mix[0] == max(weights, key=value)
        assert model.mix[1] == 1 - model.mix[0]


class TestBlendOfSequences(MethodContract):
    name = "blend-sequences"
    values: ClassVar = {
        f"settings.{name}.{key}": value
        for name in ("sasrec", "sasrec-text")
        for key, value in QUICK.items()
    }

    def test_score_is_the_sum_of_the_standardised_scores_of_the_methods(self, model, world):
        names = Params().settings.blend_sequences.components
        found = [standardized(world.train(name, self.values).score(EVERYONE)) for name in names]
        expected = sum(weight * part for weight, part in zip(model.mix, found, strict=True))
        assert names == ["cease", "transitions-text", "sasrec-text"]
        np.testing.assert_allclose(model.score(EVERYONE), expected, atol=1e-5)

    def test_histories_reach_every_component(self, model, world):
        seen = world.prepared.seen_sequences
        moved = model.with_histories(seen)
        for name, part in model.parts.items():
            alone = part.with_histories(seen).score(EVERYONE)
            np.testing.assert_array_equal(moved.parts[name].score(EVERYONE), alone)
            assert (alone != part.score(EVERYONE)).any()

    def test_new_items_are_scored_by_cease_and_by_sasrec_with_text(self, model, world):
        texts = Profiles.load(world.cell.step("profile"), world.prepared.train).item_states[:2]
        wider = model.extended(texts)
        found = [
            part.extended(texts).score(EVERYONE)[:, -2:]
            for name, part in model.parts.items()
            if name != "transitions-text"
        ]
        columns = [part.score(EVERYONE)[:, -2:] for part in wider.parts.values()]
        np.testing.assert_allclose(columns[0], found[0], atol=1e-5)
        np.testing.assert_allclose(columns[2], found[1], atol=1e-5)
        assert model.new_mix[1] == 0
        as_new = model.as_new(np.array([3]))
        text = model.parts["sasrec-text"].text
        np.testing.assert_array_equal(as_new.parts["sasrec-text"].item[3], text[3])
        assert (model.parts["sasrec-text"].item[3] != text[3]).any()

    def test_the_ablation_has_no_texts(self, world):
        found = world.train("blend-sequences-without-texts", self.values)
        assert list(found.parts) == ["ease", "transitions", "sasrec"]
        with pytest.raises(ValueError, match="none of its components scores items by their text"):
            found.extended(np.zeros((1, 8), np.float32))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"settings": {"glta-plus": {"l2": 1.0}}},
            r"settings\.glta-plus\.l2: belongs to settings\.cease",
        ),
        (
            {"overrides": {"sample": {"settings": {"glta-plus": {"text_weight": 1.0}}}}},
            r"overrides\.sample\.settings\.glta-plus\.text_weight: belongs to settings\.cease",
        ),
    ],
)
def test_files_with_keys_of_the_former_glta_plus_hear_where_they_are(data, message):
    with pytest.raises(ParamsError, match=message):
        check_params(data)
