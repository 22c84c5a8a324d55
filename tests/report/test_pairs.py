"""Two methods compared on every dataset, against plain arithmetic over users and seeds."""

import shutil

import numpy as np
import polars as pl
import pytest

from glta.data.made_from import note_data
from glta.data.prepared import Prepared
from glta.evaluation.significance import holm
from glta.params.model import Params
from glta.report.analysis import Analysis
from glta.report.cells import load_cells
from glta.report.pairs import compare_pair, pair_text
from glta.storage.files import read_json
from pipeline.stages import evaluate, report
from tests.report.made_up import SKILL
from tests.report.test_report import make

METHODS = {name: SKILL[name] for name in ("popularity", "ease", "glta")}
DATASETS = ["sample", "ml-latest-small"]
PARAMS = Params(datasets=DATASETS, seeds=[0, 3], methods=list(METHODS), report={"resamples": 200})


@pytest.fixture
def data(tmp_path, monkeypatch):
    return make(tmp_path, monkeypatch, params=PARAMS, methods=METHODS, users=60)


def test_the_difference_is_the_mean_over_users_of_the_mean_over_seeds(data):
    rows = compare_pair(PARAMS, "ease", "popularity", "recall@5")
    assert [row["dataset"] for row in rows] == DATASETS
    for row in rows:
        folder = data / "evaluate" / row["dataset"]
        ease, popularity = (
            pl.concat(
                pl.read_parquet(folder / str(seed) / name / "users.parquet").select(
                    "user", "recall@5"
                )
                for seed in (0, 3)
            )
            .group_by("user", maintain_order=True)
            .mean()
            .sort("user")["recall@5"]
            .to_numpy()
            for name in ("ease", "popularity")
        )
        assert row["users"] == ease.size
        assert row["difference"] == pytest.approx((ease - popularity).mean())
        assert row["low"] < row["difference"] < row["high"]
        back = compare_pair(PARAMS, "popularity", "ease", "recall@5")[rows.index(row)]
        assert back["difference"] == pytest.approx(-row["difference"])


def test_p_is_corrected_over_the_datasets(data):
    """A single dataset has the p of the report."""
    alone = []
    for name in DATASETS:
        (row,) = compare_pair(
            PARAMS.model_copy(update={"datasets": [name]}), "glta", "ease", "ndcg@20"
        )
        params = PARAMS.model_copy(update={"methods": ["ease", "glta"]})
        cells = load_cells(data / "evaluate", params)[name]
        cells = {method: cells[method] for method in ("ease", "glta")}
        a = Analysis(name, params.for_dataset(name), cells)
        assert row["p"] == a.tests["ease"].p
        alone.append(row["p"])
    both = [row["p"] for row in compare_pair(PARAMS, "glta", "ease", "ndcg@20")]
    np.testing.assert_allclose(both, holm(np.array(alone)))


def test_a_method_that_is_known_to_be_weak_gets_no_p(data):
    report = PARAMS.report.model_copy(update={"not_tuned": {"sample/ease": "defaults"}})
    params = PARAMS.model_copy(update={"report": report})
    rows = compare_pair(params, "glta", "ease", "ndcg@20")
    assert rows[0]["p"] is None and rows[1]["p"] is not None
    lines = pair_text(rows, "glta", "ease", "ndcg@20").splitlines()
    assert lines[0] == "glta minus ease, ndcg@20 on test:"
    assert lines[1].startswith("sample, 60 users: ") and "p = " not in lines[1]
    assert "difference +" in lines[2] and "p = " in lines[2]


def test_evaluations_of_different_splits_are_not_mixed(data, monkeypatch):
    """As after a change of `prepare` and a run of one method alone. Users are known by number."""
    path = data / "evaluate/sample/3/ease/summary.json"
    before = path.read_bytes()
    users = data / "sample/3/prepare/users.parquet"
    pl.read_parquet(users).with_columns(pl.col("user_id").reverse()).write_parquet(users)
    note_data(data / "sample/3/recommend/ease", Prepared.load(data / "sample/3/prepare").digest)
    evaluate.main(PARAMS.for_dataset("sample"), "sample", 3, "ease")
    assert path.read_bytes() != before
    match = r"evaluate/sample/3: .* different splits \(popularity, glta \| ease\).* `dvc repro`"
    match_pair = r"evaluate/sample/3: .* \(ease \| glta\)"
    for mixed, use in (
        (match, lambda: load_cells(data / "evaluate", PARAMS)),
        (match_pair, lambda: compare_pair(PARAMS, "glta", "ease", "ndcg@20")),
        (match, lambda: tables_of_stage(PARAMS, monkeypatch)),
        (match, lambda: report.main(PARAMS)),
    ):
        with pytest.raises(ValueError, match=mixed) as said:
            use()
        assert "\n" not in str(said.value)
    # what is not mixed can be compared
    assert compare_pair(PARAMS, "glta", "popularity", "ndcg@20")


def test_means_run_over_the_seeds_that_both_methods_have(data):
    """The two means and the difference are of one set of seeds, so that they fit together."""
    shutil.rmtree(data / "evaluate/sample/3/glta")
    one, whole = compare_pair(PARAMS, "ease", "glta", "ndcg@20")
    back, _ = compare_pair(PARAMS, "glta", "ease", "ndcg@20")
    for row in (one, whole, back):
        assert row["difference"] == pytest.approx(row["one"] - row["other"])
    for name, value in (("ease", one["one"]), ("glta", one["other"])):
        metrics = read_json(data / "evaluate/sample/0" / name / "metrics.json")
        assert value == metrics["ndcg@20"]
    assert (one["seeds"], one["left_out"]) == (back["seeds"], back["left_out"]) == ([0], [3])
    assert (whole["seeds"], whole["left_out"]) == ([0, 3], [])
    first, second = pair_text([one, whole], "ease", "glta", "ndcg@20").splitlines()[1:]
    assert first.startswith("sample, 60 users (not seed 3, which one of them lacks): ")
    assert second.startswith("ml-latest-small, 60 users: ")


def tables_of_stage(params: Params, monkeypatch) -> str:
    monkeypatch.setattr("glta.params.check.load_params", lambda: params)
    return report.tables("sample", "markdown")


@pytest.mark.parametrize(
    ("other", "metric"), [("lightgcn", "ndcg@20"), ("ease", "among_new/ndcg@20")]
)
def test_what_was_not_measured_is_an_error(data, other, metric):
    with pytest.raises(ValueError, match=f"no dataset has {metric} of glta and of {other}"):
        compare_pair(PARAMS, "glta", other, metric)
