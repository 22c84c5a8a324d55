"""The exhibit of GAL-Rec: each number against one that is computed by hand."""

import numpy as np
import pytest
import torch

from glta.methods.exhibit import Exhibit
from glta.methods.gal_rec.hop_exhibit import compared, similarity_within, uniformity
from glta.testing.blocks import World
from tests.methods.gal_rec.made import values, with_language

ROWS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
OTHER = torch.tensor([[0.6, 0.8], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)


def test_uniformity_and_similarity_by_hand():
    # squared distances of the three pairs: 2, 4, 2
    expected = np.log((2 * np.exp(-4) + np.exp(-8)) / 3)
    assert uniformity(ROWS) == pytest.approx(expected)
    assert similarity_within(ROWS) == pytest.approx((0 - 1 + 0) / 3)


def test_alignment_and_similarities_by_hand():
    own = (0.6 + 1 + 0) / 3
    others = (0 + 0 + 0.8 - 1 - 0.6 + 0) / 6
    distance = ((0.4**2 + 0.8**2) + 0 + 2) / 3
    assert compared(ROWS, OTHER) == pytest.approx((distance, own, others))


def test_a_trained_model_has_one(tmp_path, models):
    world = with_language(World.write(tmp_path / "world"), models["encoder"])
    model = world.train("gal-rec", values(models["encoder"], steps=40, evaluate_every=20))
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    exhibit = Exhibit.load(tmp_path / "model")
    assert exhibit == model.exhibit
    within, between = exhibit.tables
    assert [row[0] for row in within.rows][:3] == ["user, alone", "user, 1 hop", "user, 2 hops"]
    assert all(-8 <= row[1] <= 0 and -1 <= row[2] <= 1 for row in within.rows)
    for _, distance, own, strangers in between.rows:
        assert distance == pytest.approx(2 - 2 * own)
        assert -1 <= strangers <= 1
    by_name = {row[0]: row for row in between.rows}
    # what loss 2 pulls together
    assert by_name["user, 2 hops - user, 1 hop"][2] > by_name["user, 2 hops - user, 1 hop"][3]
