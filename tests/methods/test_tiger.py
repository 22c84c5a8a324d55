"""TIGER as a method: the contract, beams as lists, and histories at test time."""

from dataclasses import replace

import numpy as np
import pytest

from glta.data.sequences import Sequences
from glta.methods.shared.code_step import CodedItems
from glta.testing.blocks import NUM_ITEMS, NUM_USERS
from glta.testing.contract import MethodContract

EVERYONE = np.arange(NUM_USERS)
QUICK = {
    "train.width": 16,
    "train.layers": 1,
    "train.heads": 2,
    "train.head_width": 8,
    "train.hidden_dim": 32,
    "train.max_items": 8,
    "train.dropout": 0.2,
    "train.learning_rate": 5e-3,
    "train.batch_size": 32,
    "train.steps": 120,
    "train.evaluate_every": 40,
    "codes.levels": 2,
    "codes.codes": 5,
    "codes.text_dim": 2,
}
VALUES = {f"settings.tiger.{key}": value for key, value in QUICK.items()}


class TestTIGER(MethodContract):
    name = "tiger"
    values = VALUES

    def test_lists_of_beams_are_those_of_exact_scores(self, model, world):
        assert model.exhibit is not None
        beams = model.settings.model_copy(update={"exact_items": 0, "beams": NUM_ITEMS})
        searched = replace(model, settings=beams)
        for k in (3, NUM_ITEMS):
            items, scores = model.recommend(EVERYONE, k, world.prepared.train)
            found, their = searched.recommend(EVERYONE, k, world.prepared.train)
            np.testing.assert_array_equal(found, items)
            np.testing.assert_allclose(their, scores, atol=1e-4)
        with pytest.raises(ValueError, match="unknown user 24"):
            searched.recommend(np.array([NUM_USERS]), 3, world.prepared.train)

    def test_validation_by_beams_over_the_catalogue_is_the_exact_one(self, model, world):
        beams = {"settings.tiger.train.exact_items": 0, "settings.tiger.train.beams": NUM_ITEMS}
        searched = world.train("tiger", VALUES | beams)
        values = [[record["valid"] for record in m.history] for m in (model, searched)]
        np.testing.assert_allclose(values[0], values[1], atol=1e-6)
        assert 0.3 < values[0][-1] <= 1

    def test_histories_are_read_in_order_up_to_the_newest(self, model, world):
        seen = world.prepared.seen_sequences
        at_test = model.with_histories(seen)
        user = 4
        alone = model.with_histories(Sequences.of_lists([seen.of_user(user).item], NUM_ITEMS))
        expected = at_test.score(np.array([user]))
        np.testing.assert_allclose(alone.score(np.array([0])), expected, atol=1e-4)
        turned = Sequences.of_lists([seen.of_user(user).item[::-1]], NUM_ITEMS)
        assert np.abs(model.with_histories(turned).score(np.array([0])) - expected).max() > 0.1
        with pytest.raises(ValueError, match="histories over 3 items"):
            model.with_histories(Sequences.of_lists([[1]], 3))

    def test_test_items_change_nothing(self, model, world):
        empty = {**world.prepared.parts, "test": world.prepared.parts["test"].head(0)}
        without = replace(world.prepared, parts=empty)
        np.testing.assert_array_equal(
            world.train("tiger", VALUES, prepared=without).score(EVERYONE),
            model.score(EVERYONE),
        )


def test_codes_of_texts_and_of_another_catalogue(world, tmp_path):
    codes = world.train("tiger-codes", VALUES | {"settings.tiger.codes.collisions": "token"})
    texts = world.train("tiger-codes", VALUES | {"settings.tiger.codes.vectors": "text"})
    assert isinstance(codes, CodedItems) and isinstance(texts, CodedItems)
    assert codes.codes.codes.shape == (NUM_ITEMS, 3)
    assert texts.codes.about["vectors"] != codes.codes.about["vectors"]
    assert texts.codes.about["vectors"] == texts.codes.about["texts"]
    codes.save(tmp_path)
    loaded = CodedItems.load(tmp_path, NUM_ITEMS)
    assert loaded.codes.digest == codes.codes.digest and loaded.exhibit == codes.exhibit
    with pytest.raises(ValueError, match="the catalogue has 21"):
        CodedItems.load(tmp_path, NUM_ITEMS + 1)
