"""SASRec and its text form as methods: the contract, and histories at test time."""

from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from glta.data.sequences import Sequences
from glta.features.profiles import Profiles
from glta.methods.sasrec_text.model import SASRecText, row_from_text
from glta.methods.shared.sequence_model import SequenceModel
from glta.methods.shared.text_words import tfidf, word_vectors
from glta.nn.sequence.next_item import encode_users
from glta.nn.sequence.self_attention import SelfAttention
from glta.nn.sequence.settings import SequenceTraining
from glta.testing.blocks import NUM_ITEMS, NUM_USERS
from glta.testing.contract import MethodContract
from tests.methods.reading_order import ReadsInOrder

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


class TestSASRec(ReadsInOrder, MethodContract):
    name = "sasrec"
    values = VALUES


class TestSASRecText(MethodContract):
    name = "sasrec-text"
    values: ClassVar = {key.replace("sasrec", "sasrec-text"): v for key, v in VALUES.items()}


def test_a_network_of_known_weights_draws_none_and_holds_the_items_once():
    settings = SequenceTraining(embedding_dim=8, heads=2, num_blocks=1)
    drawn = SelfAttention(9, settings, seed=3)
    weights = {name: tensor.numpy().copy() for name, tensor in drawn.state_dict().items()}
    item = weights.pop("item")
    model = SequenceModel(np.zeros((2, 8), np.float32), item, weights, settings, best_epoch=0)
    network = model.network()
    assert network.item.data_ptr() == item.ctypes.data
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    histories = Sequences.of_lists([[1, 2, 8], [4]], 9)
    expected = encode_users(drawn, histories)
    assert model.with_histories(histories).user.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("ids", "power"), [(True, 1.0), (True, 0.5), (False, 1.0)])
def test_embeddings_are_ids_and_texts(world, ids, power):
    """Texts of the two blocks give new items the lists of their block."""
    values = {
        **TestSASRecText.values,
        "settings.sasrec-text.ids": ids,
        "settings.sasrec-text.singular_power": power,
    }
    model = world.train("sasrec-text", values)
    assert isinstance(model, SASRecText)
    texts = Profiles.load(world.cell.step("profile"), world.prepared.train).item_states
    part = model.from_text(texts)
    known = world.prepared.train.item_degree > 0
    if ids:
        assert np.abs(model.item - part)[known].max() > 0.01
    else:
        np.testing.assert_allclose(model.item, part, atol=1e-5)
    np.testing.assert_allclose(model.item[~known], part[~known], atol=1e-5)
    wider = model.extended(texts[:2])
    # a product of two rows may be summed in another order than one of all rows
    np.testing.assert_allclose(wider.item[NUM_ITEMS:], part[:2], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(wider.score(EVERYONE)[:, :NUM_ITEMS], model.score(EVERYONE))
    # items 0 and 1 are of the two blocks, as users 0 and 1 are
    scores = wider.score(np.array([0, 1]))[:, NUM_ITEMS:]
    assert scores[0, 0] > scores[0, 1]
    assert scores[1, 1] > scores[1, 0]


def test_words_in_place_of_states(world, tmp_path):
    model = world.train("sasrec-text-words", TestSASRecText.values)
    states = world.train("sasrec-text", TestSASRecText.values)
    assert np.abs(model.score(EVERYONE) - states.score(EVERYONE)).max() > 0.01
    assert np.abs(model.item - model.text).max() > 0.01
    with pytest.raises(ValueError, match="SASRecText needs interactions to score an item"):
        model.extended(np.zeros((1, 8), np.float32))
    model.save(tmp_path)
    loaded = SASRecText.load(tmp_path)
    np.testing.assert_array_equal(loaded.text, model.text)
    assert loaded.text_mean is None


def test_rows_of_items_without_users_are_predicted_from_their_texts():
    rng = np.random.default_rng(0)
    text = rng.normal(size=(50, 4)).astype(np.float32)
    share, base = row_from_text(text, np.float32(-0.3) * text + np.arange(4, dtype=np.float32))
    assert share == pytest.approx(-0.3, abs=1e-5)
    np.testing.assert_allclose(base, np.arange(4), atol=1e-5)
    share, base = row_from_text(np.ones((3, 2)), np.eye(3)[:, :2])
    assert share == 0
    np.testing.assert_allclose(base, [1 / 3, 1 / 3], atol=1e-6)


def test_word_vectors_are_the_strongest_directions_of_tfidf():
    texts = pl.Series(["red rose", "red robot", "blue robot", "blue sky", ""])
    whole = tfidf(texts).toarray()
    full = word_vectors(texts, 10, seed=0)
    np.testing.assert_allclose(full @ full.T, whole @ whole.T, atol=1e-5)
    short = word_vectors(texts, 2, seed=0)
    assert short.shape == (5, 2)
    np.testing.assert_allclose(np.abs(short), np.abs(full[:, :2]), atol=1e-4)
