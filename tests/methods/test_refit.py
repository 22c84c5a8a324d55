"""Refit on training and validation pairs with what the first fit chose."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest

from glta.config import Section
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.lists import Lists
from glta.evaluation.ranking import rank_all
from glta.evaluation.validation import embeddings_ndcg, has_validation_pairs, validation_ndcg
from glta.methods.base import Job
from glta.methods.chain import refit_of, run_twice, run_unit
from glta.methods.ease.model import SolveEASE
from glta.methods.lightgcn.model import pretrain
from glta.methods.lightgcn.spec import LightGCNSettings
from glta.methods.registry import units
from glta.nn.graph.node_embeddings import train
from glta.params.model import Params
from glta.storage.files import read_json, write_json
from glta.testing.blocks import NUM_ITEMS, NUM_USERS
from pipeline.stages import evaluate, recommend
from pipeline.stages import train as train_stage
from tests.training.test_trainer import Stopped, stop_in

EVERYONE = np.arange(NUM_USERS)
LIGHTGCN = LightGCNSettings(
    embedding_dim=8,
    num_layers=2,
    batch_size=16,
    steps=72,
    evaluate_every=6,
    patience=2,
    learning_rate=0.05,
)


def of_epochs(epochs: int) -> LightGCNSettings:
    """Return the small settings with another number of epochs."""
    return LIGHTGCN.model_copy(update={"steps": epochs * LIGHTGCN.evaluate_every})


def sections(name: str) -> Section:
    """Return the small settings of LightGCN, and the default values of other sections."""
    return LIGHTGCN if name == "settings.lightgcn" else Params().section(name)


def other_test(prepared: Prepared) -> Prepared:
    """Return the same data with other test pairs."""
    none = Interactions.of([0], [0], NUM_USERS, NUM_ITEMS)
    parts = dict(prepared.parts)
    parts["test"] = parts["test"].head(0)
    return replace(prepared, test=none, parts=parts)


def test_the_data_of_a_refit(prepared):
    joined = prepared.for_refit()
    assert np.array_equal(joined.train.key, prepared.seen.key)
    assert np.array_equal(joined.target.key, prepared.target.key)
    assert np.array_equal(joined.graph.union(joined.target).key, prepared.seen.key)
    assert not len(joined.valid)
    assert not len(joined.test)
    for name in ("user", "item", "time"):
        expected = getattr(prepared.seen_sequences, name)
        assert np.array_equal(getattr(joined.sequences, name), expected)
        assert np.array_equal(getattr(joined.seen_sequences, name), expected)
    with pytest.raises(ValueError, match="no validation pairs"):
        validation_ndcg(joined, lambda users: np.zeros((users.size, NUM_ITEMS), np.float32))
    assert not has_validation_pairs(joined)


def test_a_closed_form_is_solved_on_both_parts(world, prepared):
    first, second = run_twice(units()["ease"], world.cell, Params().section)
    expected = run_unit(
        units()["ease"], world.cell, Params().section, prepared=prepared.for_refit()
    )
    assert np.array_equal(second.weights, expected.weights)
    assert np.array_equal(
        first.weights, run_unit(units()["ease"], world.cell, Params().section).weights
    )
    assert not np.array_equal(first.weights, second.weights)


def test_a_training_runs_to_the_best_epoch_of_the_first_fit(world, prepared):
    seen = []
    unit = units()["pretrain-all"]
    first, second = run_twice(unit, world.cell, sections, on_epoch=seen.append)
    assert 0 <= first.best_epoch < first.history[-1]["epoch"], "must stop after its best epoch"
    joined = prepared.for_refit().train
    expected = train(joined, of_epochs(first.best_epoch + 1), 0)
    assert np.array_equal(second.user, expected.user)
    assert np.array_equal(second.item, expected.item)
    assert second.best_epoch == first.best_epoch == len(second.history) - 1
    again = [set(record) for record in seen if "refit/loss" in record]
    assert again == [{"epoch", "refit/loss"}] * (first.best_epoch + 1)
    # the first fit is the one that there would be without a refit
    alone = train(
        prepared.train, LIGHTGCN, 0, evaluate=embeddings_ndcg(prepared), serve=prepared.train
    )
    assert np.array_equal(first.user, alone.user)


def test_an_interrupted_refit_goes_on(world, tmp_path):
    unit = units()["pretrain-all"]
    _, whole = run_twice(unit, world.cell, sections)
    for key, epoch in (("loss", 1), ("refit/loss", 0)):

        def stop(record, key=key, epoch=epoch):
            if key in record:
                stop_in(epoch)(record)

        with pytest.raises(Stopped):
            run_twice(unit, world.cell, sections, checkpoint=tmp_path, on_epoch=stop)
    _, resumed = run_twice(unit, world.cell, sections, checkpoint=tmp_path)
    assert np.array_equal(resumed.user, whole.user)
    assert resumed.history == whole.history


@pytest.mark.parametrize("method", ["lightgcn-text-knn", "blend"])
def test_a_sum_keeps_its_weights(world, method):
    first, second = world.refit(method)
    assert (second.mix, second.new_mix) == (first.mix, first.new_mix)
    assert not np.array_equal(second.score(EVERYONE), first.score(EVERYONE))


@pytest.mark.parametrize("name", ["ease", "pretrain-all"])
def test_no_test_pair_is_read(world, prepared, name, tmp_path):
    """With other test pairs, both fits are the same to the last bit."""
    written = []
    for data in (prepared, other_test(prepared)):
        for made in run_twice(units()[name], world.cell, sections, prepared=data):
            folder = tmp_path / str(len(written))
            folder.mkdir()
            made.save(folder)
            written.append((folder / "model.safetensors").read_bytes())
    assert written[:2] == written[2:]


def test_a_method_that_cannot_says_so(world, monkeypatch):
    """It chooses only where there are validation pairs, without asking through `validation`."""
    solve = SolveEASE.run

    def run(self, job):
        model = solve(self, job)
        if len(job.prepared.valid):
            validation_ndcg(job.prepared, model.score)
        return model

    monkeypatch.setattr(SolveEASE, "run", run)
    with pytest.raises(ValueError, match=r"^ease: .*set recommend\.refit: false"):
        run_twice(units()["ease"], world.cell, Params().section)


def test_test_lists_come_from_the_refit(world, monkeypatch, tmp_path):
    """Later steps read the refits of earlier ones. Validation is that of the first fit."""
    monkeypatch.chdir(tmp_path)
    cell, prepared = world.cell, world.prepared
    write_json(cell.prepare / "counts.json", {"split": "random"})
    params = Params().with_values(
        {"settings.lightgcn": LIGHTGCN.model_dump(), "recommend.refit": True}
    )
    for step in ("pretrain-all", "lightgcn"):
        train_stage.main(params, "blocks", 0, step)
    recommend.main(params, "blocks", 0, "lightgcn")
    evaluate.main(params, "blocks", 0, "lightgcn")
    validated = [r for r in read_json(cell.model("lightgcn") / "history.json") if "valid" in r]
    best = max(validated, key=lambda record: record["valid"])
    joined = prepared.for_refit().train
    user, item = train(joined, of_epochs(best["epoch"] + 1), 0).propagated(joined)
    users = np.unique(prepared.test.user)
    items, _ = rank_all(lambda block: user[block] @ item.T, users, k=50, exclude=joined)
    lists = Lists.load(cell.lists("lightgcn"))
    assert lists.test["item"].to_list() == items[items >= 0].tolist()
    metrics = read_json(cell.evaluated("lightgcn") / "metrics.json")
    assert metrics["valid/ndcg@20"] == pytest.approx(best["valid"])
    # without the parameter, there is no refit
    train_stage.main(params.with_values({"recommend.refit": False}), "blocks", 0, "lightgcn")
    assert refit_of(cell.model("lightgcn")) == cell.model("lightgcn")


def test_all_trainings_of_a_dataset_sample_neighbours_or_none(world, monkeypatch):
    """Both steps of LightGCN and a refit, although their numbers of edges differ."""
    asked = []
    monkeypatch.setattr(
        LightGCNSettings, "samples", lambda self, num_edges: asked.append(num_edges)
    )
    for data in (world.prepared, world.prepared.for_refit()):
        for graph in (data.train, data.graph):
            job = Job("pretrain", {}, {"": of_epochs(1)}, seed=0, given=data)
            with contextlib.suppress(ValueError):  # a refit has no validation pairs by itself
                pretrain(job, graph)
    assert asked == 4 * [len(world.prepared.seen)]
