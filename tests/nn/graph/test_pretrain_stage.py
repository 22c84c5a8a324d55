"""The stages `pretrain-all` and `pretrain-graph`."""

import json

import numpy as np
import pytest

from glta.evaluation.validation import embeddings_ndcg
from glta.methods.lightgcn.spec import LightGCNSettings
from glta.nn.graph.node_embeddings import NodeEmbeddings
from glta.nn.graph.node_embeddings import train as train_embeddings
from glta.params.model import Params
from glta.storage.arrays import load_arrays
from pipeline.stages import train


@pytest.mark.parametrize("edges", ["all", "graph"])
def test_writes_the_same_bytes_twice(world, monkeypatch, tmp_path, edges):
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    monkeypatch.setenv("GLTA_RECORDS", str(tmp_path / "records"))
    params = Params().with_values(
        {"settings.lightgcn.embedding_dim": 8, "settings.lightgcn.steps": 240}
    )
    out = world.data / "blocks" / "0" / f"pretrain-{edges}"
    written = []
    for _ in range(2):
        train.main(params, "blocks", 0, f"pretrain-{edges}")
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert written[0] == written[1]
    arrays, meta = load_arrays(out / "model.safetensors")
    assert {name: array.shape for name, array in arrays.items()} == {
        "user": (24, 8),
        "item": (20, 8),
    }
    assert arrays["user"].dtype == np.float32
    assert meta["num_layers"] == 3
    history = json.loads((out / "history.json").read_text())
    assert [record["epoch"] for record in history] == [0, 1, 2]
    assert (
        meta["best_epoch"]
        == max((r for r in history if "valid" in r), key=lambda r: r["valid"])["epoch"]
    )
    records = [json.loads(line) for line in (tmp_path / "records").read_text().splitlines()]
    assert [record["step"] for record in records] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("encoder", ["lgconv", "graphconv", "sage", "gatv2"])
def test_writes_all_that_an_encoder_needs(world, monkeypatch, prepared, encoder):
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    settings = LightGCNSettings(
        embedding_dim=8, steps=6, evaluate_every=2, encoder=encoder, heads=2
    )
    values = {f"settings.lightgcn.{key}": value for key, value in settings.model_dump().items()}
    train.main(Params().with_values(values), "blocks", 0, "pretrain-graph")
    loaded = NodeEmbeddings.load(world.data / "blocks" / "0" / "pretrain-graph")
    trained = train_embeddings(
        prepared.graph, settings, 0, embeddings_ndcg(prepared), serve=prepared.train
    )
    assert loaded.encoder == encoder
    assert loaded.best_epoch == trained.best_epoch
    for graph in (prepared.graph, prepared.train):
        for ours, expected in zip(loaded.propagated(graph), trained.propagated(graph), strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_refuses_an_unknown_step():
    with pytest.raises(ValueError, match="--step pretrain-some: no method has such a step"):
        train.main(Params(), "blocks", 0, "pretrain-some")
