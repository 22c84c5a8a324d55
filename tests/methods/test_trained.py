"""The methods that train a graph model of their own."""

import json

import numpy as np
import pytest

from glta.evaluation.ranking import dot_products
from glta.evaluation.validation import validation_ndcg
from glta.methods.base import Job
from glta.methods.chain import place_of
from glta.methods.registry import specs, units
from glta.methods.spec import load
from glta.params.model import Params
from glta.storage.arrays import save_arrays
from glta.testing.blocks import World
from glta.testing.contract import MethodContract
from pipeline.stages import train as train_stage

TRAINED = ["lightgcn-plus", "hccf", "hccf-plus", "rlmrec-con", "rlmrec-gen"]
SMALL = {
    "embedding_dim": 8,
    "num_layers": 2,
    "learning_rate": 0.1,
    "steps": 60,
    "evaluate_every": 4,
    "batch_size": 64,
}
# 24 users are soon learnt, if nothing is dropped
FEW = {"hyperedges": 8, "keep": 1, "init_std": 0.03, "contrast_weight": 0.02, "learning_rate": 0.05}
OWN = {"hccf": FEW, "hccf-plus": FEW}
VALUES = {
    f"settings.{name}.{key}": value
    for name in TRAINED
    for key, value in (SMALL | OWN.get(name, {})).items()
}
PARAMS = Params().with_values(VALUES)


def step_of(name: str):
    """Make the step that trains a method."""
    return load(specs()[name].steps[-1].run)()


def job_of(world: World, name: str, params: Params = PARAMS, **more) -> Job:
    """Give the step of a method what its spec names."""
    sources = {read: place_of(world.cell, read) for read in units()[name].reads}
    settings = {"": params.section(f"settings.{name}")}
    return Job(step=name, sources=sources, settings=settings, seed=0, **more)


def ranked_users(monkeypatch) -> list[int]:
    """Return a list that grows by the number of users of each block that a validation ranks."""
    asked: list[int] = []

    def counted(user_BD: np.ndarray, item_ID: np.ndarray) -> np.ndarray:
        asked.append(len(user_BD))
        return dot_products(user_BD, item_ID)

    monkeypatch.setattr("glta.evaluation.validation.dot_products", counted)
    return asked


class TrainedContract(MethodContract):
    values = VALUES

    def test_keeps_the_best_epoch(self, model, prepared):
        values = {record["epoch"]: record["valid"] for record in model.history if "valid" in record}
        assert values[model.best_epoch] == max(values.values())
        assert validation_ndcg(prepared, model.score) == pytest.approx(values[model.best_epoch])

    def test_a_validation_ranks_no_more_users_than_asked(self, world, prepared, monkeypatch):
        asked = ranked_users(monkeypatch)
        own = f"settings.{self.name}"
        few = {f"{own}.steps": 8, f"{own}.evaluate_every": 4, f"{own}.validation_users": 3}
        model = world.train(self.name, self.values | few)
        assert asked == [3, 3]
        found = validation_ndcg(prepared, model.score, most_users=3)
        assert found == pytest.approx(model.history[model.best_epoch]["valid"])

    def test_what_is_loaded_is_what_was_saved(self, model, tmp_path):
        model.save(tmp_path)
        loaded = type(model).load(tmp_path)
        assert (loaded.count, loaded.best_epoch, loaded.history) == (
            model.count,
            model.best_epoch,
            model.history,
        )


class TestLightGCNPlus(TrainedContract):
    name = "lightgcn-plus"

    def test_counts_nodes_and_map(self, model):
        assert model.trainable_parameters == (24 + 20) * 8 + (8 * 8 + 8) + (8 * 8 + 8)


class TestHCCF(TrainedContract):
    name = "hccf"

    def test_counts_nodes_and_hyperedges(self, model):
        assert model.trainable_parameters == (24 + 20) * 8 + 2 * 8 * 8


class TestHCCFPlus(TrainedContract):
    name = "hccf-plus"


class TestRLMRecCon(TrainedContract):
    name = "rlmrec-con"


class TestRLMRecGen(TrainedContract):
    name = "rlmrec-gen"

    def test_counts_nodes_mask_and_map(self, model):
        assert model.trainable_parameters == (24 + 20) * 8 + 8 + (8 * 8 + 8) + (8 * 8 + 8)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("step", ["pretrain-all", "pretrain-graph"])
def test_validations_of_lightgcn_rank_no_more_users_than_asked(step, world, monkeypatch):
    asked = ranked_users(monkeypatch)
    small = SMALL | {"steps": 8, "validation_users": 3}
    world.train(step, {f"settings.lightgcn.{key}": value for key, value in small.items()})
    assert asked == [3, 3]


@pytest.mark.parametrize("name", TRAINED)
def test_resumed_run_equals_the_uninterrupted_one(world, tmp_path, name):
    """Dropped edges, masks and the best weights so far included."""

    def run(**more):
        return step_of(name).run(job_of(world, name, **more))

    def stop_in_epoch_5(record):
        if record["epoch"] == 5:
            raise Stopped

    whole = run()
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        run(checkpoint=checkpoint, on_epoch=stop_in_epoch_5)
    seen = []
    resumed = run(checkpoint=checkpoint, on_epoch=seen.append)
    assert (resumed.history, resumed.best_epoch) == (whole.history, whole.best_epoch)
    assert seen == whole.history
    np.testing.assert_array_equal(resumed.user, whole.user)
    np.testing.assert_array_equal(resumed.item, whole.item)


@pytest.mark.parametrize("name", TRAINED)
def test_stage_resumes_and_reports_every_epoch(world, monkeypatch, tmp_path, name):
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    monkeypatch.setenv("GLTA_CHECKPOINT", str(tmp_path / "checkpoint"))
    monkeypatch.setenv("GLTA_RECORDS", str(tmp_path / "records"))
    out = world.data / "blocks" / "0" / "models" / name
    written = []
    for _ in range(2):  # the second run finds the finished training
        train_stage.main(PARAMS, "blocks", 0, name)
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert written[0] == written[1]
    files = ["history.json", "model.json", "model.safetensors", "prepared.json"]
    assert sorted(written[0]) == files
    history = json.loads(written[0]["history.json"])
    records = [json.loads(line) for line in (tmp_path / "records").read_text().splitlines()]
    assert [{"epoch": r.pop("step"), **r} for r in records] == history * 2
    terms = {
        "hccf": {"contrast"},
        "rlmrec-con": {"contrast"},
        "rlmrec-gen": {"reconstruction"},
        "lightgcn-plus": {"text"},
    }
    assert set(history[0]) == {"epoch", "loss", "valid"} | terms.get(name, {"contrast", "text"})


@pytest.mark.parametrize("name", [n for n in TRAINED if n != "hccf"])
def test_states_of_other_data_are_refused(world, name):
    states = {"item": np.zeros((20, 8), np.float32)}  # as of a stage profile that wrote no users
    save_arrays(world.cell.step("profile") / "states.safetensors", states)
    with pytest.raises(ValueError, match="run the stage profile again"):
        world.train(name, VALUES)


@pytest.mark.parametrize("name", TRAINED)
def test_divergence_names_the_parameter(world, name):
    with pytest.raises(
        ValueError, match=rf"diverged in epoch 0: lower settings\.{name}\.learning_rate"
    ):
        world.train(name, VALUES | {f"settings.{name}.init_std": 1e30})


def test_users_texts_are_contrasted_on_request(world):
    own = {"settings.lightgcn-plus.steps": 5, "settings.lightgcn-plus.text_users": True}
    model = world.train("lightgcn-plus", VALUES | own)
    without = world.train("lightgcn-plus", VALUES)
    assert model.history[0]["text"] > 1.5 * without.history[0]["text"]
