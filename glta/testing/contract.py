"""Tests that every method must pass. Inherit `MethodContract` in a test, and name the method.

    class TestEASE(MethodContract):
        name = "ease"

It needs pytest. The method is trained once for all tests of the class, so a test must change
neither `model` nor the folders of `world`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from glta.data.histories import history_matrix
from glta.data.sequences import Sequences
from glta.methods.base import Scorer
from glta.methods.registry import recommender_class, specs
from glta.testing.blocks import LONER, NUM_ITEMS, NUM_USERS, World, block_states


class MethodContract:
    """Test one method on the small dataset of `glta.testing.blocks`.

    name: of the method. values: parameters by dotted keys. personalised: whether users of the two
    blocks must get different lists. A class whose method reads more than other methods' models, the
    data and the profiles has a fixture `world` of its own.
    """

    name: ClassVar[str]
    values: ClassVar[Mapping[str, Any]] = {}
    personalised: ClassVar[bool] = True
    everyone = np.arange(NUM_USERS)

    @pytest.fixture(scope="class")
    @classmethod
    def world(cls, tmp_path_factory: pytest.TempPathFactory) -> World:
        return World.write(tmp_path_factory.mktemp("world"))

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, world: World) -> Scorer:
        return cls.fit(world)

    @pytest.fixture(scope="class")
    @classmethod
    def refitted(cls, world: World) -> tuple[Scorer, Scorer]:
        """Train the method anew, and again on training and validation pairs together."""
        first, second = world.refit(cls.name, cls.values)
        assert isinstance(first, Scorer)
        assert isinstance(second, Scorer)
        return first, second

    @classmethod
    def fit(cls, world: World) -> Scorer:
        """Train the method."""
        model = world.train(cls.name, cls.values)
        assert isinstance(model, Scorer)
        return model

    def test_its_spec_names_its_class(self, model):
        assert type(model) is recommender_class(self.name)
        assert specs()[self.name].title

    def test_scores_every_item(self, model):
        scores = model.score(self.everyone)
        assert scores.shape == (NUM_USERS, NUM_ITEMS)
        assert scores.dtype == np.float32
        assert model.score(np.array([], np.int64)).shape == (0, NUM_ITEMS)

    def test_scores_are_fresh(self, model):
        before = model.score(self.everyone)
        model.score(self.everyone)[:] = -np.inf
        np.testing.assert_array_equal(model.score(self.everyone), before)

    def test_a_user_scores_alike_in_any_block(self, model):
        together = model.score(self.everyone)
        for user in (0, 7, LONER):
            np.testing.assert_allclose(model.score(np.array([user]))[0], together[user], atol=1e-5)

    def test_fit_twice_is_equal(self, model, refitted):
        again, _ = refitted
        np.testing.assert_array_equal(again.score(self.everyone), model.score(self.everyone))

    def test_it_can_be_refitted(self, refitted):
        """The refit repeats the choices of the first fit; it knows the validation pairs."""
        first, second = refitted
        found = second.score(self.everyone)
        assert np.isfinite(found).all()
        assert not np.array_equal(found, first.score(self.everyone))

    def test_save_and_load_is_equal_to_the_last_bit(self, model, tmp_path):
        folders = [tmp_path / "first", tmp_path / "second"]
        for folder in folders:
            folder.mkdir()
            model.save(folder)
        loaded = type(model).load(folders[0])
        np.testing.assert_array_equal(loaded.score(self.everyone), model.score(self.everyone))
        names = sorted(path.name for path in folders[0].iterdir())
        assert {path.suffix for path in folders[0].iterdir()} <= {".json", ".safetensors"}
        assert [(folders[1] / name).read_bytes() for name in names] == [
            (folders[0] / name).read_bytes() for name in names
        ]
        about = json.loads((folders[0] / "model.json").read_text())
        assert about["method"] == self.name
        assert about["trainable_parameters"] >= 0

    @pytest.mark.parametrize("user", [-1, NUM_USERS])
    def test_unknown_user_is_refused(self, model, user):
        with pytest.raises(ValueError, match=f"user {user}"):
            model.score(np.array([0, user]))

    def test_user_without_history_is_answered(self, model, world):
        assert np.isfinite(model.score(np.array([LONER]))).all()
        items, _ = model.recommend(np.array([LONER]), NUM_ITEMS, world.prepared.train)
        assert sorted(items[0]) == list(range(NUM_ITEMS))

    def test_lists_hold_nothing_twice_and_nothing_masked(self, model, world):
        items, scores = model.recommend(self.everyone, NUM_ITEMS + 3, world.prepared.train)
        assert items.shape == scores.shape == (NUM_USERS, NUM_ITEMS + 3)
        for user, shown in enumerate(items):
            expected = set(range(NUM_ITEMS)) - set(world.prepared.train.items_of(user).tolist())
            assert sorted(shown[shown >= 0]) == sorted(expected)
        assert (scores[:, :-1] >= scores[:, 1:]).all()

    def test_held_out_items_of_the_block_rank_first(self, model, world):
        if not self.personalised:
            pytest.skip("gives everyone the same list")
        users = np.unique(world.prepared.test.user)
        items, _ = model.recommend(users, 2, world.prepared.train)
        for user, shown in zip(users, items, strict=True):
            assert set(shown) == {
                *world.prepared.valid.items_of(user),
                *world.prepared.test.items_of(user),
            }

    def test_it_can_do_what_its_spec_names_and_nothing_else(self, model, world):
        """capabilities: histories, the items of a new user; sequences, these in order; new_items,
        by their item features.
        """
        history = history_matrix(world.prepared.train)[:2]
        features = block_states(2)
        can = specs()[self.name].capabilities
        if "histories" in can:
            assert model.score_histories(history).shape == (2, NUM_ITEMS)
        else:
            self.refuses(model, "histories", lambda: model.score_histories(history))
        if "sequences" in can:
            newcomer = model.with_histories(Sequences.of_lists([[1, 0]], NUM_ITEMS))
            assert newcomer.score(np.array([0])).shape == (1, NUM_ITEMS)
        if "new_items" in can:
            longer = model.extended(features).score(self.everyone)
            assert longer.shape == (NUM_USERS, NUM_ITEMS + 2)
            before = model.score(self.everyone)
            np.testing.assert_allclose(longer[:, :NUM_ITEMS], before, atol=1e-5)
        else:
            self.refuses(model, "new_items", lambda: model.extended(features))

    def test_training_items_in_order_are_the_histories(self, model, world):
        again = model.with_histories(world.prepared.sequences)
        np.testing.assert_allclose(
            again.score(self.everyone), model.score(self.everyone), rtol=1e-5, atol=1e-6
        )

    def refuses(self, model: Scorer, capability: str, call: Callable[[], object]) -> None:
        """Fail unless the class says that it cannot do what its spec does not name."""
        try:
            call()
        except ValueError as error:
            assert type(model).__name__ in str(error)
        else:
            pytest.fail(f'{self.name} can do it: add "{capability}" to `capabilities` in its spec')
