"""TIGER as a method: the contract, beams as lists, and histories at test time."""

from dataclasses import replace

import numpy as np
import pytest

from glta.methods.shared.code_step import CodedItems
from glta.testing.blocks import NUM_ITEMS, NUM_USERS
from glta.testing.contract import MethodContract
from tests.methods.reading_order import ReadsInOrder

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


class TestTIGER(ReadsInOrder, MethodContract):
    name = "tiger"
    values = VALUES
    tolerance = 1e-4

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
