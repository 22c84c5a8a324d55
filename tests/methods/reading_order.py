"""What holds for every method that reads the items of a user in their order."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from glta.data.sequences import Sequences
from glta.testing.blocks import NUM_ITEMS


class ReadsInOrder:
    """Tests of such a method, beside those of `MethodContract`.

    tolerance: by how much scores of one history may differ between batches.
    """

    tolerance: ClassVar[float] = 1e-5
    name: ClassVar[str]
    values: ClassVar[dict[str, Any]]
    everyone: ClassVar[np.ndarray]

    def test_histories_are_read_in_order_up_to_the_newest(self, model, world):
        seen = world.prepared.seen_sequences
        at_test = model.with_histories(seen)
        assert (at_test.score(self.everyone) != model.score(self.everyone)).any()
        user = 4
        alone = model.with_histories(Sequences.of_lists([seen.of_user(user).item], NUM_ITEMS))
        expected = at_test.score(np.array([user]))
        np.testing.assert_allclose(alone.score(np.array([0])), expected, atol=self.tolerance)
        turned = Sequences.of_lists([seen.of_user(user).item[::-1]], NUM_ITEMS)
        assert np.abs(model.with_histories(turned).score(np.array([0])) - expected).max() > 0.1
        with pytest.raises(ValueError, match="histories over 3 items"):
            model.with_histories(Sequences.of_lists([[1]], 3))

    def test_test_items_change_nothing(self, model, world):
        empty = {**world.prepared.parts, "test": world.prepared.parts["test"].head(0)}
        without = replace(world.prepared, parts=empty)
        trained = world.train(self.name, self.values, prepared=without)
        np.testing.assert_array_equal(trained.score(self.everyone), model.score(self.everyone))
