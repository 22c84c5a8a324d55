"""SASRec as a method: the contract, and histories at test time."""

from dataclasses import replace

import numpy as np

from glta.data.sequences import Sequences
from glta.methods.sasrec.model import SASRec
from glta.testing.blocks import NUM_ITEMS, NUM_USERS
from glta.testing.contract import MethodContract

EVERYONE = np.arange(NUM_USERS)
QUICK = {
    "embedding_dim": 16,
    "heads": 1,
    "num_blocks": 1,
    "dropout": 0.2,
    "learning_rate": 0.01,
    "batch_size": 8,
    "steps": 60,
    "evaluate_every": 20,
}
VALUES = {f"settings.sasrec.{key}": value for key, value in QUICK.items()}


class TestSASRec(MethodContract):
    name = "sasrec"
    values = VALUES


def test_histories_are_read_in_order_up_to_the_newest(world):
    model = world.train("sasrec", VALUES)
    assert isinstance(model, SASRec)
    seen = world.prepared.seen_sequences
    at_test = model.with_histories(seen)
    assert (at_test.score(EVERYONE) != model.score(EVERYONE)).any()
    user = 4
    alone = model.with_histories(Sequences.of_lists([seen.of_user(user).item], NUM_ITEMS))
    expected = at_test.score(np.array([user]))
    np.testing.assert_allclose(alone.score(np.array([0])), expected, atol=1e-5)
    turned = Sequences.of_lists([seen.of_user(user).item[::-1]], NUM_ITEMS)
    assert np.abs(model.with_histories(turned).score(np.array([0])) - expected).max() > 0.1


def test_test_items_change_nothing(world):
    empty = {**world.prepared.parts, "test": world.prepared.parts["test"].head(0)}
    without = replace(world.prepared, parts=empty)
    np.testing.assert_array_equal(
        world.train("sasrec", VALUES, prepared=without).score(EVERYONE),
        world.train("sasrec", VALUES).score(EVERYONE),
    )
