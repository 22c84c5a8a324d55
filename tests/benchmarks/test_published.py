"""Published results beside ours: the rows can run, read their data, and are measured rightly."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks import public_data, published
from benchmarks.public_data import COUNTS, ELECTRONICS, read_public
from benchmarks.published import ROWS, Row, run_row, table
from glta.methods.chain import run_unit
from glta.methods.registry import specs
from glta.params.model import Params

USERS, ITEMS = 40, 20


def write_ids(folder: Path, part: str, rows: dict[int, list[int]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [" ".join(map(str, [user, *items])) for user, items in rows.items()]
    with gzip.open(folder / f"{part}.txt.gz", "wt") as f:
        f.write("\n".join(lines) + "\n")


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Path:
    """A small split in place of a public one: odd and even users have odd and even items."""
    rng = np.random.default_rng(0)
    train, test = {}, {}
    for user in range(USERS):
        items = rng.permutation(np.arange(user % 2, ITEMS, 2))
        train[user], test[user] = items[:7].tolist(), items[7:].tolist()
    write_ids(tmp_path / ELECTRONICS, "train", train)
    write_ids(tmp_path / ELECTRONICS, "test", test)
    monkeypatch.setitem(COUNTS, ELECTRONICS, (USERS, ITEMS, USERS * ITEMS // 2))
    published._data.cache_clear()
    yield tmp_path
    published._data.cache_clear()


def test_the_rows_name_methods_settings_and_metrics_that_exist():
    for row in ROWS:
        assert row.data in COUNTS and row.method in specs()
        values = {f"settings.{row.method}.{key}": value for key, value in row.settings.items()}
        Params().with_values(values)
        for metric, value in row.published.items():
            assert metric in ("recall@20", "ndcg@20", "recall@10", "ndcg@10")
            assert 0 < value < 0.3
    assert len({(row.key, row.as_) for row in ROWS}) == len(ROWS)


def test_a_split_is_read_whole_and_its_counts_are_checked(mirror):
    data = read_public(mirror, ELECTRONICS)
    assert len(data.train) + len(data.valid) == 7 * USERS and len(data.test) == 3 * USERS
    assert 0.05 < len(data.valid) / (7 * USERS) < 0.15
    public_data.COUNTS[ELECTRONICS] = (USERS, ITEMS, 1)
    with pytest.raises(ValueError, match=r"published: \(40, 20, 1\)"):
        read_public(mirror, ELECTRONICS)
    with pytest.raises(ValueError, match="no such folder"):
        read_public(mirror, "amazon-toys")


@pytest.mark.parametrize(
    ("method", "settings"), [("ease", {"l2": 1.0}), ("ials", {"embedding_dim": 8, "epochs": 4})]
)
def test_a_row_is_fitted_on_all_training_pairs_and_measured_on_test(mirror, method, settings):
    row = Row(ELECTRONICS, method, settings, {"recall@20": 0.5, "ndcg@20": 0.5}, "made up")
    found = run_row(row, mirror)
    # a user's three test items are the only items of their kind that are left
    assert found["values"]["recall@20"] == 1
    assert 0.95 < found["values"]["ndcg@20"] <= 1
    few = Row(ELECTRONICS, "popularity", {}, {"recall@10": 0.5}, "made up")
    assert 0.3 < run_row(few, mirror)["values"]["recall@10"] < 0.95


def test_a_row_of_a_published_number_of_epochs_validates_nothing(mirror, monkeypatch):
    settings = {"embedding_dim": 8, "batch_size": 64, "steps": 40, "evaluate_every": 20}
    row = Row(ELECTRONICS, "lightgcn", settings, {"recall@20": 0.5}, "made up", epochs=2)
    seen = []
    monkeypatch.setattr(
        published, "run_unit", lambda *a, **k: seen.append((a, k)) or run_unit(*a, **k)
    )
    assert run_row(row, mirror)["values"]["recall@20"] == 1
    ((_, how),) = seen
    assert len(how["prepared"].train) == 7 * USERS and not len(how["prepared"].valid)
    with pytest.raises(ValueError, match="its refit does not make the same choices"):
        run_row(row._replace(method="ease", settings={}), mirror)


def test_a_result_far_below_the_published_one_is_marked():
    rows = [
        Row("data", "ease", {"l2": value}, {"ndcg@20": 0.1}, "source") for value in (1.0, 2.0, 3.0)
    ]
    results = {
        rows[0].key: {"values": {"ndcg@20": 0.0971}, "seconds": 1.0},
        rows[1].key: {"values": {"ndcg@20": 0.0969}, "seconds": 1.0},
    }
    shown = table(rows, results)
    assert [row.style for row in shown.rows] == [None, "red", None]
    assert list(shown.columns[5].cells) == ["0.0971", "0.0969", "not run"]


def test_some_rows_alone(mirror, monkeypatch, tmp_path, capsys):
    rows = tuple(
        Row(ELECTRONICS, method, {}, {"ndcg@20": 0.5}, "made up") for method in ("ease", "item-knn")
    )
    monkeypatch.setattr(published, "ROWS", rows)
    monkeypatch.setattr(published, "OUT", tmp_path / "out.json")

    def run(*words: str) -> list[str]:
        monkeypatch.setattr("sys.argv", ["published", *words])
        published.main()
        return [row for row in capsys.readouterr().out.splitlines() if ELECTRONICS in row]

    (line,) = run(str(mirror), "--only", f"{ELECTRONICS}/ease")
    assert " ease " in line and "not run" not in line
    assert len(run(str(mirror))) == 2
    with pytest.raises(SystemExit, match="no such folder"):
        published._data.cache_clear()
        run(str(tmp_path / "nowhere"), "--fresh")


@pytest.mark.slow
@pytest.mark.skipif("GLTA_MIRROR" not in os.environ, reason="needs the public splits")
@pytest.mark.parametrize("row", [row for row in ROWS if row.quick], ids=lambda row: row.key)
def test_quick_rows_are_as_published(row):
    found = run_row(row, Path(os.environ["GLTA_MIRROR"]))["values"]
    for metric, value in row.published.items():
        # from above too: a leak would show as a result that is too good
        assert 0.97 * value < found[metric] < 1.2 * value
