"""The methods that the stage `fit` trains on the graph."""

import json

import numpy as np
import pytest
import torch

from glta.evaluation.validation import embeddings_ndcg, validation_ndcg
from glta.methods.registry import method_class
from glta.nn.graph.ranker import train_ranker
from glta.params.model import Params
from glta.storage.arrays import save_arrays
from glta.testing.contract import MethodContract
from pipeline.stages import fit as fit_stage

TRAINED = ["lightgcn-plus", "hccf", "hccf-plus", "rlmrec-con", "rlmrec-gen"]
SMALL = {"embedding_dim": 8, "num_layers": 2, "learning_rate": 0.1, "epochs": 10, "batch_size": 64}
# 24 users are soon learnt, if nothing is dropped
FEW = {"hyperedges": 8, "keep": 1, "init_std": 0.03, "contrast_weight": 0.02, "learning_rate": 0.05}
OWN = {"hccf": FEW, "hccf-plus": FEW}
PARAMS = Params.model_validate({"settings": {name: SMALL | OWN.get(name, {}) for name in TRAINED}})
FITTED = {}


class TrainedContract(MethodContract):
    params = PARAMS

    @pytest.fixture
    def model(self, world):
        if self.name not in FITTED:  # trained once for all tests, which change nothing in it
            FITTED[self.name] = self.fit(world)
        return FITTED[self.name]

    def test_keeps_the_best_epoch(self, model, prepared):
        values = {record["epoch"]: record["valid"] for record in model.history if "valid" in record}
        assert values[model.best_epoch] == max(values.values())
        assert validation_ndcg(prepared, model.score) == pytest.approx(values[model.best_epoch])

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


@pytest.mark.parametrize("name", TRAINED)
def test_resumed_run_equals_the_uninterrupted_one(world, tmp_path, name):
    """Dropped edges, masks and the best weights so far included."""
    train = world.inputs.prepared.train

    def run(checkpoint=None, on_epoch=lambda record: None):
        model = method_class(name).ranker(world.inputs, PARAMS, 0, "cpu")
        return *train_ranker(
            model, train, 0, embeddings_ndcg(world.inputs.prepared), checkpoint, on_epoch
        ), model.embeddings()

    def stop_in_epoch_5(record):
        if record["epoch"] == 5:
            raise Stopped

    history, best_epoch, embeddings = run()
    with pytest.raises(Stopped):
        run(tmp_path, stop_in_epoch_5)
    seen = []
    resumed = run(tmp_path, seen.append)
    assert resumed[:2] == (history, best_epoch)
    assert seen == history
    for ours, whole in zip(resumed[2], embeddings, strict=True):
        np.testing.assert_array_equal(ours, whole)


@pytest.mark.parametrize("name", TRAINED)
def test_stage_resumes_and_reports_every_epoch(world, monkeypatch, tmp_path, name):
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    monkeypatch.setenv("GLTA_CHECKPOINT", str(tmp_path / "checkpoint"))
    monkeypatch.setenv("GLTA_RECORDS", str(tmp_path / "records"))
    out = world.data / "blocks" / "0" / "models" / name
    written = []
    for _ in range(2):  # the second run finds the finished training
        fit_stage.main(PARAMS, "blocks", 0, name)
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert written[0] == written[1]
    assert sorted(written[0]) == ["history.json", "model.json", "model.safetensors"]
    history = json.loads(written[0]["history.json"])
    records = [json.loads(line) for line in (tmp_path / "records").read_text().splitlines()]
    assert [{"epoch": r.pop("step"), **r} for r in records] == history * 2
    terms = {
        "hccf": {"contrast"},
        "rlmrec-con": {"contrast"},
        "rlmrec-gen": {"reconstruction"},
        "lightgcn-plus": {"text"},
    }
    assert set(history[0]) == {"epoch", "loss"} | terms.get(name, {"contrast", "text"})


@pytest.mark.parametrize("name", [n for n in TRAINED if n != "hccf"])
def test_states_of_other_data_are_refused(world, name):
    states = {"item": np.zeros((20, 8), np.float32)}  # as of a stage profile that wrote no users
    save_arrays(world.inputs.profile / "states.safetensors", states)
    with pytest.raises(ValueError, match="run the stage profile again"):
        method_class(name).fit(world.inputs, PARAMS, 0)


@pytest.mark.parametrize("name", TRAINED)
def test_divergence_names_the_parameter(world, name):
    params = Params.model_validate({"settings": {name: SMALL | {"init_std": 1e30}}})
    with pytest.raises(
        ValueError, match=rf"diverged in epoch 0: lower settings\.{name}\.learning_rate"
    ):
        method_class(name).fit(world.inputs, params, 0)


def test_users_texts_are_contrasted_on_request(world):
    params = Params.model_validate(
        {"settings": {"lightgcn-plus": SMALL | {"epochs": 2, "text_users": True}}}
    )
    model = method_class("lightgcn-plus").fit(world.inputs, params, 0)
    without = method_class("lightgcn-plus").fit(world.inputs, PARAMS, 0)
    assert model.history[0]["text"] > 1.5 * without.history[0]["text"]


@pytest.mark.parametrize("name", ["lightgcn-plus", "hccf", "hccf-plus", "rlmrec-con"])
def test_contrasts_see_so_many_triples_of_a_batch(world, name):
    """With three they are those of a batch of these three; the ranking loss is of the whole batch
    all the same.
    """
    batch = tuple(
        torch.tensor(ids) for ids in ([3, 5, 3, 7, 1, 2], [2, 4, 4, 1, 0, 9], [6, 6, 8, 3, 7, 5])
    )

    def parts(contrast_batch, size):
        own = {"contrast_batch": contrast_batch} | ({} if name == "lightgcn-plus" else {"keep": 1})
        params = PARAMS.with_values({f"settings.{name}.{key}": value for key, value in own.items()})
        model = method_class(name).ranker(world.inputs, params, 0, "cpu")
        found = model.loss(tuple(ids[:size] for ids in batch), torch.Generator().manual_seed(0))[1]
        return {part: value.item() for part, value in found.items()}

    some, few, all_of_it = parts(3, 6), parts(0, 3), parts(0, 6)
    for part in set(some) - {"loss"}:
        assert some[part] == pytest.approx(few[part])
        assert some[part] != pytest.approx(all_of_it[part])
    assert some["loss"] == pytest.approx(all_of_it["loss"])
