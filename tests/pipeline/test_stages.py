"""Run the real stages in order on a small bookshop, and test what they write.

Two runs must write the same.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from glta.datasets import sample
from glta.methods.glta import steps
from glta.methods.registry import needed
from glta.nn.language.model_files import ModelFiles
from glta.params.check import check_params, merged, whole_overrides
from glta.params.file import render_params
from glta.params.model import Params
from glta.params.own_models import with_model_checksums
from glta.serving.bundle import load
from glta.serving.export import export
from glta.serving.recommend import recommend as serve
from glta.storage.arrays import load_arrays
from glta.storage.files import sha256_of
from pipeline.stages import bundle, download, evaluate, prepare, profile, recommend, report, train
from tests.tiny import WRITERS

ROOT = Path(__file__).parents[2]
ABLATED = [
    "glta-without-item-alignment",
    "glta-without-profile",
    "glta-tied-head",
    "glta-one-per-position",
]
METHODS = [*Params().methods, *ABLATED]
SERVED = ["ease", "text-knn"]
SMALL = {
    "datasets": ["books"],
    "tables": {
        "books": {"interactions": "interactions.csv", "items": "items.csv", "licence": "CC0 1.0"}
    },
    "language": {"model": "tiny"},
    "settings": {
        "lightgcn": {"embedding_dim": 8, "steps": 8, "evaluate_every": 2},
        "glta": {
            "align_items": {"epochs": 1, "items_per_prompt": 3, "description_tokens": 6},
            "align_users": {
                "epochs": 1,
                "context_items": 4,
                "read_outs": 2,
                "tag_tokens": 4,
                "interest_tokens": 4,
            },
        },
    },
    "methods": METHODS,
    "recommend": {"k": 20},
    "report": {"resamples": 200, "reference": "glta"},
    "overrides": {
        "books": whole_overrides({"settings": {"lightgcn-text-knn": {"weight_steps": 5}}})
    },
}


def small_params(**changes) -> Params:
    """Return the parameters of a short run. changes: keys of the file with other values."""
    return check_params(merged(merged(Params().model_dump(), SMALL), changes))


def write_tables(folder: Path) -> None:
    """Write 40 books and the 60 readers who read most of them, at least six each."""
    interactions, items = sample.make()
    books = (
        interactions["item_id"]
        .value_counts()
        .sort("count", "item_id", descending=True)["item_id"]
        .head(40)
    )
    kept = interactions.filter(pl.col("item_id").is_in(books.implode()))
    readers = (
        kept["user_id"].value_counts().sort("count", "user_id", descending=True)["user_id"].head(60)
    )
    kept.filter(pl.col("user_id").is_in(readers.implode())).write_csv(folder / "interactions.csv")
    items.filter(pl.col("item_id").is_in(books.implode())).write_csv(folder / "items.csv")


def run_all(params: Params) -> None:
    """Run every stage as `python -m pipeline.stages.STAGE` does, but in this process."""
    cell = params.for_dataset("books")
    download.main(cell, "books")
    prepare.main(cell, "books", 0)
    profile.main(cell, "books", 0)
    for step in needed(params.methods):
        if step != "profile":
            train.main(cell, "books", 0, step)
    for method in params.methods:
        recommend.main(cell, "books", 0, method)
        evaluate.main(cell, "books", 0, method)
    for method in params.serve:
        bundle.main(cell, "books", 0, method)
    report.main(params)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Iterator[list[dict[str, bytes]]]:
    """Return what two runs in two empty folders wrote below data/.

    The working directory is that of the second run.
    """
    before, written = Path.cwd(), []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GLTA_CHECKPOINT", "GLTA_RECORDS", "GLTA_MIRROR"):
            patch.delenv(name, raising=False)
        for name in ("first", "second"):
            folder = tmp_path_factory.mktemp(name)
            WRITERS["encoder"](folder / "tiny")
            write_tables(folder)
            # as a project has them
            (folder / ".dvc").mkdir()
            (folder / "Snakefile").touch()
            patch.chdir(folder)
            params = with_model_checksums(small_params(serve=SERVED))
            Path("params.yaml").write_text(render_params(params), encoding="utf-8")
            run_all(params)
            written.append(contents(folder / "data"))
        yield written
    assert Path.cwd() == before


def test_prepare_tells_of_items_without_a_row(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path)
    said = "items have no row in the items' table"
    for missing in (0, 3):
        pl.read_csv("items.csv").slice(missing).write_csv("items.csv")
        params = small_params().for_dataset("books")
        download.main(params, "books")
        prepare.main(params, "books", 0)
        out = capsys.readouterr().out
        assert (f"{missing} {said}: their id is their title" in out) == (missing > 0)
        assert (said in out) == (missing > 0)


RIDGES = ("text-ridge", "word-ridge")
ALIGNED = ["aligner.safetensors", "history.json"]
GLTA_MODEL = [*ALIGNED, "model.safetensors", "model.json"]


def expected_files() -> set[str]:
    """List the files that docs/artefacts.md promises."""
    cell = {
        "prepare": [
            *(
                "train.parquet",
                "valid.parquet",
                "test.parquet",
                "users.parquet",
                "items.parquet",
                "counts.json",
                "card.json",
            ),
        ],
        "profile": ["items.parquet", "users.parquet", "states.safetensors", "profile.json"],
        "pretrain-all": ["model.safetensors", "history.json"],
        "pretrain-graph": ["model.safetensors", "history.json"],
        "align_items": ["model.safetensors", "history.json"],
        "align_users": ALIGNED,
        **{f"models/{method}": ["model.safetensors", "model.json"] for method in METHODS},
        # components of `blend`, whether or not it names them
        **{f"models/{name}": ["model.safetensors", "model.json"] for name in RIDGES},
        "models/lightgcn": ["model.safetensors", "model.json", "history.json"],
        **{f"models/{method}": GLTA_MODEL for method in ("glta", *ABLATED)},
        **{f"recommend/{method}": ["valid.parquet", "test.parquet"] for method in METHODS},
    }
    files = {f"books/0/{folder}/{name}" for folder, names in cell.items() for name in names}
    files |= {
        f"evaluate/books/0/{method}/{name}"
        for method in METHODS
        for name in ("metrics.json", "users.parquet", "summary.json")
    }
    copied = [name for name in files if "/prepare/" in name and "card" not in name]
    for method in SERVED:
        made = [*copied, *(name for name in files if f"/models/{method}/" in name)]
        made += ["bundle.json", "README.md", "NOTICES.md"]
        files |= {f"books/0/bundles/{method}/{name}" for name in made}
    noted = [folder for folder in cell if folder.startswith(("models/", "recommend/"))]
    files |= {f"books/0/{folder}/prepared.json" for folder in noted}
    return files | {
        "books/download/interactions.csv",
        "books/download/items.csv",
        "books/download/source.json",
    }


def test_files_are_those_of_the_contract(runs):
    found = {name for name in runs[0] if not name.startswith("report/")}
    assert found == expected_files()
    assert {"report/index.html", "report/metrics.json"} <= set(runs[0])
    assert any(name.startswith("report/figures/") for name in runs[0])


def test_equal_inputs_give_equal_bytes(runs):
    first, second = (
        {name: data for name, data in run.items() if name != "report/index.html"} for run in runs
    )
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.parametrize("method", SERVED)
def test_a_bundle_of_the_stages_serves_the_lists_that_were_measured(runs, method):
    served = load(Path("data/books/0/bundles", method))
    lists = pl.read_parquet(f"data/books/0/recommend/{method}/test.parquet").sort("user", "rank")
    users = lists["user"].unique(maintain_order=True)
    names = pl.read_parquet("data/books/0/prepare/users.parquet")["user_id"]
    found = served.lists(names.gather(users).to_list(), 20)
    assert [score for one in found for score in one.scores] == lists["score"].to_list()
    assert served.about.measured["ndcg@20"] > 0
    assert (served.about.encoder is None) == (method == "ease")
    # the stages would undo an export of the user's own into the same folder
    for out in (None, Path("data/books/0/bundles", method)):
        with pytest.raises(ValueError, match=f"{method}: is written by the stages.*--out"):
            export(method, "books", out=out)


def test_metrics_have_the_right_shape(runs):
    gathered = json.loads(runs[1]["report/metrics.json"])
    assert set(gathered) == {"books"}
    assert set(gathered["books"]) == set(METHODS)
    names = set()
    for method in METHODS:
        metrics = json.loads(runs[1][f"evaluate/books/0/{method}/metrics.json"])
        assert all(isinstance(value, int | float) for value in metrics.values())
        assert {"ndcg@5", "ndcg@10", "ndcg@20", "recall@20", "coverage@20", "valid/ndcg@20"} <= set(
            metrics
        )
        assert all(
            0 <= value <= 1 for name, value in metrics.items() if "ndcg" in name or "recall" in name
        )
        assert gathered["books"][method]["0"]["ndcg@20"] == metrics["ndcg@20"]
        names.add(frozenset(metrics))
    # every method has the same metrics
    assert len(names) == 1


def test_lists_and_pairs_fit_together(runs):
    cell = Path("data/books/0")
    training, valid, test = (
        pl.read_parquet(cell / "prepare" / f"{part}.parquet") for part in ("train", "valid", "test")
    )
    ordered = {"rating": pl.Float64, "timestamp": pl.Int64, "position": pl.Int32}
    assert valid.schema == {"user": pl.Int32, "item": pl.Int32} | ordered
    assert training.schema == valid.schema | {"target": pl.Boolean}
    assert 0.1 < training["target"].mean() < 0.4
    for part, wanted, seen in (
        ("valid", valid, training),
        ("test", test, pl.concat([training.drop("target"), valid])),
    ):
        for method in METHODS:
            lists = pl.read_parquet(cell / "recommend" / method / f"{part}.parquet")
            assert lists.schema == {
                "user": pl.Int32,
                "rank": pl.Int16,
                "item": pl.Int32,
                "score": pl.Float32,
            }
            assert set(lists["user"]) == set(wanted["user"])
            assert lists.join(seen, on=["user", "item"], how="semi").is_empty()
            assert lists["rank"].max() <= 20


def test_profile_shows_words_of_training_items(runs):
    cell = Path("data/books/0")
    users = pl.read_parquet(cell / "profile" / "users.parquet")
    kinds = ["tags", "interests", "graph_tags", "graph_interests"]
    assert dict(users.schema) == {"user": pl.Int32} | dict.fromkeys(kinds, pl.String)
    assert (users["tags"] != users["graph_tags"]).any()
    states = load_arrays(cell / "profile" / "states.safetensors")[0]["item"]
    np.testing.assert_allclose(np.linalg.norm(states, axis=1), 1, atol=1e-5)
    about = json.loads((cell / "profile" / "profile.json").read_text())
    language = about["language"]
    assert language["model"] == "tiny"
    assert language["sha256"] == ModelFiles.of(Path("tiny")).sha256
    assert set(language["files"]) == {path.name for path in Path("tiny").iterdir()}
    assert language["files"]["config.json"] == sha256_of("tiny/config.json")


def test_profile_refuses_a_model_that_is_not_stated(runs, tmp_path, monkeypatch):
    for name in ("tiny", "data"):
        shutil.copytree(name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"language\.model = tiny: has no checksum.*params sync"):
        profile.main(small_params().for_dataset("books"), "books", 0)
    stated = with_model_checksums(small_params()).for_dataset("books")
    config = Path("tiny/config.json")
    config.write_text(config.read_text().replace('"gelu"', '"relu"'))
    with pytest.raises(
        ValueError, match=r"language\.model = tiny: the model's files are not those .*params sync"
    ):
        profile.main(stated, "books", 0)


def test_glta_tells_what_it_is(runs):
    about = json.loads(runs[1]["books/0/models/glta/model.json"])
    assert about["method"] == "glta"
    assert about["trainable_parameters"] > 0
    assert (
        about["language_sha256"]
        == json.loads(runs[1]["books/0/profile/profile.json"])["language"]["sha256"]
    )
    history = json.loads(runs[1]["books/0/models/glta/history.json"])
    assert [record["epoch"] for record in history["align_users"]] == [-1, 0]


def test_an_ablation_redoes_what_its_change_reaches(runs):
    """It uses all other results of glta itself."""
    names = [
        "glta",
        "glta-without-profile",
        "glta-without-item-alignment",
        "glta-tied-head",
        "glta-one-per-position",
    ]
    base, words, items, head, mode = folders = [Path("data/books/0/models", name) for name in names]
    assert (mode / "aligner.safetensors").read_bytes() == (
        base / "aligner.safetensors"
    ).read_bytes()
    tensors = {folder: load_arrays(folder / "aligner.safetensors")[0] for folder in folders}
    known = tensors[base]["item_projector.weight"]
    kept = [np.array_equal(tensors[folder]["item_projector.weight"], known) for folder in folders]
    assert kept == [True, True, False, False, True]
    assert "head.token.weight" in tensors[head]
    history = {f: json.loads((f / "history.json").read_text()) for f in folders}
    # the best epoch may be the start, so the weights need not differ: the losses do
    stage_3 = {
        folder: [record.get("loss") for record in history[folder]["align_users"]]
        for folder in folders
    }
    assert stage_3[words] != stage_3[base] == stage_3[mode]
    stage_2 = {folder: history[folder]["align_items"] for folder in folders[:4]}
    assert stage_2[words] == stage_2[base] != stage_2[head]
    assert stage_2[items] == []
    told = [
        json.loads((folder / "model.json").read_text())["align_users"] for folder in (base, words)
    ]
    assert told[1] == told[0] | {"tag_tokens": 0} != told[0]


def test_an_ablation_computes_nothing_that_its_change_does_not_reach(runs, monkeypatch):
    def unwanted(*_):
        raise AssertionError("computed again")

    def again(method: str) -> dict[str, bytes]:
        train.main(with_model_checksums(small_params()).for_dataset("books"), "books", 0, method)
        return contents(Path("data/books/0/models", method))

    kept = {method: contents(Path("data/books/0/models", method)) for method in ABLATED}
    monkeypatch.setattr(steps.AlignItems, "run", unwanted)
    assert again("glta-without-profile") == kept["glta-without-profile"]
    monkeypatch.setattr(steps.AlignUsers, "run", unwanted)
    assert again("glta-one-per-position") == kept["glta-one-per-position"]
    with pytest.raises(AssertionError, match="computed again"):
        again("glta-tied-head")


def test_a_mode_ablation_makes_other_lists_of_the_same_model(runs):
    lists = {
        m: pl.read_parquet(f"data/books/0/recommend/{m}/test.parquet")
        for m in ("glta", "glta-one-per-position")
    }
    first, second = (
        frame.filter(pl.col("rank") == 1)["item"].to_list() for frame in lists.values()
    )
    # both modes choose the first item by the first read-out
    assert first == second
    assert not lists["glta"]["item"].equals(lists["glta-one-per-position"]["item"])


def test_an_ablation_is_served_by_the_class_of_its_method(runs):
    user = pl.read_parquet("data/books/0/prepare/users.parquet")["user_id"][0]
    found = {
        method: serve(method, "books", user=user, k=5)
        for method in ("glta", "glta-without-profile", "glta-tied-head")
    }
    assert all(len(rows) == 5 for rows in found.values())
    scores = {tuple(row["score"] for row in rows) for rows in found.values()}
    assert len(scores) == len(found)


def test_nothing_half_made_is_left(runs):
    assert list(Path("data").rglob(".*")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["pipeline.stages.recommend", "--dataset", "books", "--seed", "0", "--method", "svd"],
            "error: --method svd: unknown method; there are popularity, ",
        ),
        (
            ["pipeline.stages.recommend", "--dataset", "books", "--seed", "0", "--method", "hccf"],
            "models/hccf/model.json: no such file; run the stage that makes it",
        ),
        (
            ["pipeline.stages.train", "--dataset", "books", "--seed", "0", "--step", "svd"],
            "error: --step svd: no method has such a step; there are popularity, ",
        ),
        (
            ["pipeline.stages.prepare", "--dataset", "nothing", "--seed", "0"],
            "error: nothing: is no registered dataset",
        ),
        (
            ["pipeline.stages.prepare", "--dataset", "sample", "--seed", "0"],
            "no such file; run the stage that makes it",
        ),
        (
            ["pipeline.stages.train", "--dataset", "books", "--seed", "7", "--step", "popularity"],
            "users.parquet: no such file; run the stage",
        ),
    ],
)
def test_mistake_ends_in_one_line(runs, commands, arguments, said):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [f"{commands}/python", "-m", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
