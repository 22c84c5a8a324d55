"""GAL-Rec as a method: the contract, new users and new items, ablations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.methods.gal_rec.model import GALRec
from glta.methods.gal_rec.neighbours import NeighbourSampler
from glta.methods.registry import specs
from glta.testing.blocks import NUM_ITEMS, NUM_USERS, World, block_prepared, block_states
from glta.testing.contract import MethodContract
from tests.methods.gal_rec.made import values, with_language

EVERYONE = np.arange(NUM_USERS)


@pytest.fixture
def world(tmp_path, models) -> World:
    return with_language(World.write(tmp_path / "world"), models["encoder"])


def trained(world: World, language: Path, **more: object) -> GALRec:
    found = world.train("gal-rec", values(language, **more))
    assert isinstance(found, GALRec)
    return found


class TestGALRec(MethodContract):
    name = "gal-rec"

    @pytest.fixture(scope="class")
    @classmethod
    def world(cls, tmp_path_factory, models):
        cls.values = values(models["encoder"])
        world = World.write(tmp_path_factory.mktemp("world"))
        return with_language(world, models["encoder"])

    def test_new_users_are_scored_by_their_items(self, model, world):
        train = world.prepared.train
        even = np.zeros((1, NUM_ITEMS), np.float32)
        even[0, [0, 4]] = 1
        odd = np.roll(even, 1, 1)
        scores = model.score_histories(csr_array(np.concatenate([even, odd])))
        assert scores[0, ::2].min() > scores[0, 1::2].max()
        assert scores[1, 1::2].min() > scores[1, ::2].max()
        # in any company, and again: the drawn neighbours depend on the history alone
        np.testing.assert_allclose(model.score_histories(csr_array(odd)), scores[1:], atol=1e-5)
        # users of training are placed near themselves
        again = model.score_histories(history_matrix(train)[:-1])
        own = model.score(EVERYONE[:-1])
        similar = [np.corrcoef(a, b)[0, 1] for a, b in zip(again, own, strict=True)]
        assert min(similar) > 0.8

    def test_neighbours_of_new_users_come_of_one_sampler(self, model, world, monkeypatch):
        made, of_users = [], NeighbourSampler.of_users
        monkeypatch.setattr(
            NeighbourSampler, "of_users", lambda *given: made.append(given) or of_users(*given)
        )
        history = history_matrix(world.prepared.train)
        reader = replace(model.reader)
        for users in ([0, 3], [4], []):
            found = reader.users(history[users])
            assert found.shape == (len(users), model.item.shape[1])
            np.testing.assert_array_equal(found, replace(reader).users(history[users]))
        # once for the reader, and once for each that was made afresh and read someone
        assert len(made) == 3

    def test_a_user_without_items_gets_scores(self, model, world):
        nothing = csr_array(np.zeros((1, NUM_ITEMS), np.float32))
        assert np.isfinite(model.score_histories(nothing)).all()

    def test_new_items_take_their_place_by_their_text(self, model, world):
        longer = model.extended(block_states(NUM_ITEMS)[:2])
        new = longer.score(EVERYONE[:-1])[:, NUM_ITEMS:]
        even = EVERYONE[:-1] % 2 == 0
        assert (new[even, 0] > new[even, 1]).all()
        assert (new[~even, 1] > new[~even, 0]).all()


def test_a_causal_model_reads_prompts_too(tmp_path, models):
    world = with_language(World.write(tmp_path), models["causal"])
    model = trained(world, models["causal"])
    items, _ = model.recommend(EVERYONE[:-1], 2, world.prepared.train)
    assert (items % 2 == EVERYONE[:-1, None] % 2).all()


def test_items_without_training_users_are_scored_by_text(world, models):
    prepared = block_prepared()
    kept = {}
    for part in ("train", "graph", "target"):
        pairs = getattr(prepared, part)
        here = pairs.item > 1
        kept[part] = Interactions.of(pairs.user[here], pairs.item[here], NUM_USERS, NUM_ITEMS)
    model = world.train(
        "gal-rec", values(models["encoder"]), prepared=replace(prepared, parts={}, **kept)
    )
    scores = model.score(EVERYONE[:-1])
    even = EVERYONE[:-1] % 2 == 0
    assert (scores[even, 0] > scores[even, 1]).all()
    assert (scores[~even, 1] > scores[~even, 0]).all()


def test_vectors_that_are_trained_know_no_new_users(world, models):
    model = trained(world, models["encoder"], external="none")
    with pytest.raises(ValueError, match=r"settings.gal-rec.external = none"):
        model.score_histories(history_matrix(world.prepared.train)[:1])


def test_a_profile_of_another_language_model_is_refused(world, models):
    with pytest.raises(ValueError, match="run the stages again"):
        trained(world, models["causal"])


@pytest.mark.parametrize("external", ["graph", "text", "none"])
def test_any_external_vectors_can_be_trained_on(world, models, external):
    model = trained(world, models["encoder"], external=external)
    assert np.isfinite(model.score(EVERYONE)).all()
    assert model.history[-1]["loss"] > 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory, models) -> GALRec:
    """The method without a change, trained once."""
    world = with_language(World.write(tmp_path_factory.mktemp("whole")), models["encoder"])
    return trained(world, models["encoder"])


@pytest.mark.parametrize("name", specs()["gal-rec"].ablations)
def test_every_ablation_differs(world, models, whole, name):
    quick = values(models["encoder"])
    changes = specs()["gal-rec"].ablations[name].changes
    kept = {k: v for k, v in quick.items() if k.removeprefix("settings.gal-rec.") not in changes}
    other = world.train(f"gal-rec-{name}", kept)
    losses = [[record.get("loss") for record in model.history] for model in (whole, other)]
    assert losses[0] != losses[1]


def test_test_pairs_change_nothing(world, models, whole):
    none = Interactions.of([], [], NUM_USERS, NUM_ITEMS)
    without = replace(world.prepared, test=none)
    model = world.train("gal-rec", values(models["encoder"]), prepared=without)
    np.testing.assert_array_equal(model.score(EVERYONE), whole.score(EVERYONE))
