"""The methods without a training loop of their own."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from glta.data.interactions import Interactions
from glta.methods.chain import place_of
from glta.methods.popularity.model import Popularity
from glta.methods.registry import needed
from glta.methods.shared.standardized import standardized
from glta.methods.shared.text_space import TextScores, text_vectors
from glta.params.model import Params
from glta.storage.cell import Cell
from glta.testing.blocks import World
from glta.testing.contract import MethodContract
from pipeline.stages import recommend as recommend_stage
from pipeline.stages import train as train_stage


class TestPopularity(MethodContract):
    name, personalised = "popularity", False

    def test_score_is_the_training_degree(self, model, prepared):
        np.testing.assert_array_equal(model.score(np.array([3]))[0], prepared.train.item_degree)

    def test_lower_item_first_among_equals(self):
        nothing = Interactions.of([], [], 1, 4)
        items, _ = Popularity(np.array([1, 2, 2, 2], np.float32), 1).recommend(
            np.array([0]), 3, nothing
        )
        assert items.tolist() == [[1, 2, 3]]


class TestTextKNN(MethodContract):
    name = "text-knn"

    def test_score_is_the_cosine_with_the_mean_of_centred_vectors(self):
        states = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
        vectors = text_vectors(states, Interactions.of([0, 0, 1, 1], [1, 4, 0, 2], 2, 5))
        centred = states - states[[0, 1, 2, 4]].mean(0)  # nobody has item 3
        mean = centred[[1, 4]].mean(0)
        expected = centred @ mean / np.linalg.norm(centred, axis=1) / np.linalg.norm(mean)
        np.testing.assert_allclose(
            TextScores(*vectors).score(np.array([0]))[0], expected, atol=1e-6
        )

    def test_equal_texts_score_zero(self):
        vectors = text_vectors(np.ones((4, 3), np.float32), Interactions.of([0], [2], 2, 4))
        assert (TextScores(*vectors).score(np.array([0, 1])) == 0).all()

    def test_states_of_another_catalogue_are_refused(self):
        with pytest.raises(ValueError, match="profile again"):
            text_vectors(np.ones((3, 2), np.float32), Interactions.of([0], [0], 1, 4))


class TestLightGCN(MethodContract):
    name = "lightgcn"

    def test_counts_every_embedding(self, model):
        assert model.trainable_parameters == (24 + 20) * 4

    def test_embeddings_of_other_data_are_refused(self, tmp_path):
        from glta.nn.graph.node_embeddings import NodeEmbeddings

        world = World.write(tmp_path)

        other = NodeEmbeddings(np.zeros((3, 4), np.float32), np.zeros((20, 4), np.float32), 2)
        other.save(world.cell.step("pretrain-all"))
        with pytest.raises(ValueError, match="run the stage pretrain-all again"):
            self.fit(world)


def test_constant_rows_become_zeros():
    scores = np.array([[0.1] * 7, [1, 2, 3, 4, 5, 6, 7]], np.float32)
    result = standardized(scores)
    assert (result[0] == 0).all()
    assert result[1].mean() == pytest.approx(0, abs=1e-6)
    assert result[1].std() == pytest.approx(1)


def test_methods_start_without_torch():
    code = (
        "import sys; from glta.methods.registry import recommender_class, specs;"
        "from glta.methods.spec import load;"
        "others = [spec for name, spec in specs().items() if name != 'glta'];"
        "[recommender_class(spec.name) for spec in others];"
        "[load(step.run) for spec in others for step in spec.steps];"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# GLTA and GLTA+ need a language model
@pytest.mark.parametrize("method", [name for name in Params().methods if "glta" not in name])
def test_stages_train_and_recommend(world, prepared, monkeypatch, method):
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    cell = Cell("blocks", 0)
    for step in needed([method]):
        if not place_of(cell, step).exists():
            train_stage.main(Params(), "blocks", 0, step)
    recommend_stage.main(Params(), "blocks", 0, method)
    root = world.data / "blocks" / "0"
    assert json.loads((root / "models" / method / "model.json").read_text())["method"] == method
    for name, wanted, masked in (
        ("valid", prepared.valid, prepared.train),
        ("test", prepared.test, prepared.seen),
    ):
        lists = pl.read_parquet(root / "recommend" / method / f"{name}.parquet")
        assert dict(lists.schema) == {
            "user": pl.Int32,
            "rank": pl.Int16,
            "item": pl.Int32,
            "score": pl.Float32,
        }
        assert lists["user"].unique().sort().to_list() == np.unique(wanted.user).tolist()
        assert not masked.contains(
            lists["user"].to_numpy().astype(np.int64), lists["item"].to_numpy().astype(np.int64)
        ).any()
        assert lists.sort("user", "rank").equals(lists)
        assert (
            lists.group_by("user").agg(pl.col("rank").max())["rank"]
            == lists.group_by("user").len()["len"]
        ).all()


def test_the_stages_refuse_an_unknown_name():
    with pytest.raises(ValueError, match=r"--step nothing: no method has such a step; .*ease"):
        train_stage.main(Params(), "blocks", 0, "nothing")
    with pytest.raises(ValueError, match=r"--method nothing: unknown method; .*ease"):
        recommend_stage.main(Params(), "blocks", 0, "nothing")
