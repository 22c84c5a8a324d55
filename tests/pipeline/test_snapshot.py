"""Test that a stage can read other stages' results while these run."""

from types import SimpleNamespace

import pytest
from dvc.dependency.base import DependencyDoesNotExistError

from pipeline.engine.snapshot import model_values


@pytest.mark.parametrize("gone", [FileNotFoundError, DependencyDoesNotExistError])
def test_a_model_that_a_stage_beside_replaces_is_left_out(tmp_path, gone):
    metrics = tmp_path / "metrics.json"
    metrics.write_text('{"valid/ndcg@20": 0.5}')

    def stage(method: str, get_hash) -> SimpleNamespace:
        measures = {
            "dataset_name": "d",
            "method": method,
            "seed": 0,
            "metric": "valid/ndcg@20",
            "model": method,
        }
        model = SimpleNamespace(
            def_path=method,
            exists=True,
            get_hash=get_hash,
            DoesNotExistError=DependencyDoesNotExistError,
        )
        measured = SimpleNamespace(metric=True, def_path=str(metrics))
        return SimpleNamespace(meta={"measures": measures}, deps=[model], outs=[measured])

    def vanishing():
        raise gone("models/b/half")

    found = model_values([stage("a", lambda: SimpleNamespace(value="1")), stage("b", vanishing)])
    assert [(measured.method, measured.value) for measured in found] == [("a", 0.5)]
