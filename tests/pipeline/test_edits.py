"""Test that an edit of code, or of the list of methods, makes exactly the right stages stale."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import polars as pl
import pytest
from ruamel.yaml import YAML

from tests.pipeline.real import Real
from tests.pipeline.repository import LOCAL

pytestmark = [pytest.mark.engines, pytest.mark.slow, pytest.mark.xdist_group("edits")]

OF_EASE = {"ease@books-0", "recommend@books-0-ease", "evaluate@books-0-ease"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, commands) -> Real:
    """Run three fast methods once, under Snakemake."""
    real = Real.create(
        tmp_path_factory.mktemp("edits") / "real", ["popularity", "item-knn", "ease"]
    )
    real.env["PATH"] = f"{commands}{os.pathsep}{real.path}"
    # the checksums of the tables are there from the start, as for a user
    real("glta", "params", "sync")
    real.snakemake()
    real.assert_clean()
    return real


@pytest.fixture
def real(finished, tmp_path) -> Real:
    shutil.copytree(finished.folder, tmp_path / "real", symlinks=True, ignore=LOCAL)
    copy = Real(tmp_path / "real")
    copy.env["PATH"] = finished.env["PATH"]
    return copy


def append(real: Real, path: str, line: str) -> None:
    file = real.folder / path
    file.write_text(f"{file.read_text()}{line}\n")


def new_runs(real: Real, known: list) -> set[str]:
    """Return the stages that were executed since, each once."""
    before = {run.info.run_id for run in known}
    found = [run.data.tags["stage"] for run in real.runs() if run.info.run_id not in before]
    assert len(found) == len(set(found))
    return set(found)


def test_a_comment_in_one_method_runs_its_own_stages_under_dvc(real):
    append(real, "glta/methods/ease/model.py", "# a comment")
    assert real.stale() == {"code"}
    assert real.planned() == {"code", "report", *OF_EASE}
    known = real.runs()
    real.repro()
    # the new results equal the old ones, so no later stage has to run
    assert new_runs(real, known) == {"code", "ease@books-0", "recommend@books-0-ease"}
    real.assert_clean()
    assert real.stale() == set()


def test_another_result_of_one_method_runs_its_own_stages_under_snakemake(real):
    before = real.results()
    real.edit("glta/methods/ease/model.py", r"\bsettings\.l2\b", "settings.l2 * 3")
    assert real.planned() == {"code", "report", *OF_EASE}
    known = real.runs()
    real.snakemake()
    assert new_runs(real, known) == {"code", "report", *OF_EASE}
    real.assert_clean()
    after = real.results()
    changed = {name for name in before if before[name] != after[name]}
    assert "books/0/models/ease/model.safetensors" in changed
    others = ("books/0/models/popularity", "books/0/models/item-knn", "books/0/prepare")
    assert not [name for name in changed if name.startswith(others)]


def test_an_edit_of_the_report_leaves_trainings_alone(real):
    append(real, "glta/report/page/render.py", "# a comment")
    assert real.stale() == {"code"}
    assert real.planned() == {"code", "report"}
    known = real.runs()
    real.snakemake()
    assert new_runs(real, known) == {"code", "report"}
    real.assert_clean()


def test_an_edit_of_a_title_runs_the_report_alone(real):
    real.edit("glta/methods/ease/spec.py", r'title="EASE"', 'title="Shallow autoencoder"')
    assert real.planned() == {"code", "report"}
    known = real.runs()
    real.snakemake()
    assert new_runs(real, known) == {"code", "report"}
    assert "Shallow autoencoder" in (real.folder / "data/report/index.html").read_text()
    real.assert_clean()


def test_an_edit_that_no_result_depends_on_runs_the_stage_code_alone(real):
    append(real, "glta/methods/ease/spec.py", "# a comment")
    append(real, "glta/params/check.py", "# a comment")
    assert real.planned() == {"code"}
    known = real.runs()
    real.repro()
    assert new_runs(real, known) == {"code"}
    real.assert_clean()


def test_code_that_is_edited_before_its_stage_runs_is_named(real):
    """The stage `code` does not run, as with `dvc repro -s`."""
    append(real, "glta/methods/ease/model.py", "# a comment")
    output = real("dvc", "repro", "-f", "-s", "ease@books-0", status=None)
    words = "ease@books-0: glta/methods/ease/model.py was edited after its hash was taken"
    assert words in output and "Traceback" not in output
    assert "code" in real.stale()
    real.repro()
    real.assert_clean()


def plan(real: Real) -> dict[str, list[str]]:
    found = YAML(typ="safe").load(real.folder / "plan.yaml")["plan"]
    return {name: datasets for name, datasets in found.items() if datasets}


def test_plain_dvc_says_that_the_plan_is_out_of_date_and_then_works(real):
    real.edit("params.yaml", r"^methods: \[.*\]", "methods: [popularity, text-knn, ease]")
    output = real("dvc", "repro", status=None)
    words = "error: plan.yaml: did not fit params.yaml; it has been brought up to date: "
    again = "run the same command again, or for an experiment change params.yaml first"
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert lines == [words + again]
    assert "Traceback" not in output and "missing data" not in output
    assert [*plan(real)] == ["profile", "popularity", "text-knn", "ease", "recommend"]
    known = real.runs()
    real.repro()
    made = {"profile@books-0", "text-knn@books-0"}
    made |= {"recommend@books-0-text-knn", "evaluate@books-0-text-knn"}
    assert new_runs(real, known) == {"code", "report", *made}
    real.assert_clean()


def test_snakemake_brings_the_plan_up_to_date_by_itself(real):
    real.edit("params.yaml", r"^methods: \[.*\]", "methods: [popularity, text-knn, ease]")
    output = real.snakemake()
    assert "plan.yaml: updated for params.yaml" in output
    assert [*plan(real)] == ["profile", "popularity", "text-knn", "ease", "recommend"]
    real.assert_clean()
    assert "didn't change" in real.repro()


def test_plain_dvc_notices_a_return_to_earlier_parameters(real):
    """DVC restores the stage `code` of the earlier parameters. The plan must go back with them."""
    first = (real.folder / "params.yaml").read_text()
    real.edit("params.yaml", r"^methods: \[.*\]", "methods: [popularity]")
    real.snakemake()
    (real.folder / "params.yaml").write_text(first)
    output = real("dvc", "repro", status=None)
    assert "error: plan.yaml: did not fit params.yaml" in output
    real.repro()
    assert {path.name for path in (real.folder / "data/books/0/recommend").iterdir()} == {
        "popularity",
        "item-knn",
        "ease",
    }
    real.assert_clean()


def test_shards_take_the_place_of_a_stage_and_nothing_after_it_runs(real):
    """By both engines, to and fro. Later stages get the same bytes."""
    real.edit("params.yaml", r"^  recommend: 1\b", "  recommend: 2")
    before = real.results()
    known = real.runs()
    real("glta", "params", "sync")
    real.repro()
    methods = ("popularity", "item-knn", "ease")
    shards = {f"recommend-part@books-0-{m}-2-{part}" for m in methods for part in (0, 1)}
    joins = {f"recommend-join@books-0-{m}-2" for m in methods}
    assert new_runs(real, known) == {"code", *shards, *joins}
    real.assert_clean()
    after = real.results()
    assert {name: after[name] for name in before} == before
    problems = json.loads(real("glta", "lineage", "check", "--json"))["problems"]
    assert problems == []
    traced = real("glta", "lineage", "trace", "data/books/0/recommend/ease/test.parquet")
    assert "recommend-part@books-0-ease-2-1" in traced
    real.edit("params.yaml", r"^  recommend: 2\b", "  recommend: 1")
    real.snakemake()
    real.assert_clean()
    assert {name: real.results()[name] for name in before} == before


def test_an_experiment_with_fewer_methods_makes_lists_of_these_alone(real):
    known = real.runs()
    real("dvc", "exp", "run", "-S", "methods=[popularity]", "-S", "recommend.k=25")
    made = {name for name in new_runs(real, known) if name.startswith("recommend")}
    assert made == {"recommend@books-0-popularity"}


def test_a_join_that_reads_more_than_its_stage_names_is_refused(real):
    real.edit("params.yaml", r"^  recommend: 1\b", "  recommend: 2")
    real("glta", "params", "sync")
    real.edit(
        "pipeline/stages/recommend_join.py",
        r"^    cell = Cell",
        "    open('data/books/0/prepare/counts.json').close()\n    cell = Cell",
    )
    output = real("dvc", "repro", status=None)
    assert "it reads data/books/0/prepare/counts.json, whose edits no stage would notice" in output


def test_one_run_is_enough_after_a_return_to_an_older_lock_file_and_an_edit(real):
    """The stage `code` runs, and leaves the files of the other stages as they are."""
    lock = (real.folder / "dvc.lock").read_text()
    real.edit("glta/methods/ease/model.py", r"\bsettings\.l2\b", "settings.l2 * 3")
    real.snakemake()
    (real.folder / "dvc.lock").write_text(lock)
    append(real, "glta/methods/ease/spec.py", "# a comment")
    assert {"code", *OF_EASE} <= real.planned()
    real.snakemake()
    real.assert_clean()
    assert real.stale() == set()


def copy_of_ease(real: Real, name: str) -> Path:
    """Start a method as CONTRIBUTING says: a copy of EASE with other names, named in `methods`."""
    folder = real.folder / "glta/methods" / name.replace("-", "_")
    shutil.copytree(real.folder / "glta/methods/ease", folder)
    for path in folder.glob("*.py"):
        text = path.read_text().replace("glta.methods.ease", f"glta.methods.{folder.name}")
        text = text.replace('"ease"', f'"{name}"').replace("EASE", "Copied")
        path.write_text(text)
    real.edit("params.yaml", r"^methods: \[(.*)\]", rf"methods: [\1, {name}]")
    real("glta", "params", "sync")
    return folder


def test_a_new_method_runs_and_its_edits_reach_its_own_stages(real):
    """The recipe of CONTRIBUTING, followed to the letter, then edits of each file of the method."""
    folder = copy_of_ease(real, "user-knn")
    own = {f"{stage}user-knn" for stage in ("recommend@books-0-", "evaluate@books-0-")}
    own |= {"user-knn@books-0"}
    known = real.runs()
    real.snakemake()
    assert new_runs(real, known) == {"code", "report", *own}
    real.assert_clean()

    model = "glta/methods/user_knn/model.py"
    real.edit(model, r"\bsettings\.l2\b", "settings.l2 * 3")
    assert real.planned() == {"code", "report", *own}
    assert real.stale() == {"code"}
    line = f"user-knn@books-0: stale: {model} was edited"
    assert real("glta", "why", "user-knn") == f"{line}\n"
    assert "up to date" in real("glta", "why", "ease")
    problems = json.loads(real("glta", "lineage", "check", "--json", status=1))["problems"]
    direct = {"code", "user-knn@books-0", "recommend@books-0-user-knn"}
    assert {problem["where"] for problem in problems} == direct
    known = real.runs()
    real.repro()
    assert new_runs(real, known) == {"code", "report", *own}
    real.assert_clean()

    # a helper, a constant beside the settings, a file of data, and that file without its old name
    (folder / "words.json").write_text("{}")
    assert real.planned() == {"code", "report", *own}
    (folder / "words.json").unlink()
    append(real, "glta/methods/user_knn/spec.py", "RATE = 2")
    assert real.planned() == {"code", "report", *own}
    real.edit("glta/methods/user_knn/spec.py", "^RATE = 2\n", "")
    append(real, "glta/methods/shared/closed_form.py", "# a comment")
    assert real.planned() == {"code", "report", *own, *OF_EASE}


def test_a_method_that_reads_what_no_stage_would_notice_fails(real):
    (real.folder / "words.txt").write_text("a\n")
    read = 'from pathlib import Path\n\nWORDS = Path("words.txt").read_text()'
    append(real, "glta/methods/ease/model.py", read)
    output = real("dvc", "repro", "ease@books-0", status=None)
    said = "ease@books-0: it reads words.txt, whose edits no stage would notice; put the file into"
    assert said in output and "Traceback" not in output
    real.edit(
        "glta/methods/ease/model.py",
        'Path\\("words.txt"\\)',
        'Path(__file__).with_name("words.txt")',
    )
    shutil.move(real.folder / "words.txt", real.folder / "glta/methods/ease/words.txt")
    real.repro()
    real.assert_clean()
    append(real, "glta/methods/ease/words.txt", "b")
    assert real.planned() == {"code", "report", *OF_EASE}


def test_an_import_that_cannot_be_followed_stops_before_any_work(real):
    computed = 'from importlib import import_module\n\nM = import_module("glta." + "progress")'
    append(real, "glta/methods/ease/model.py", computed)
    output = real("dvc", "repro", status=None)
    assert "error: glta/methods/ease/model.py line " in output and "Traceback" not in output
    assert "runs a module by a computed name" in output
    planned = real("snakemake", "--cores", "1", "-n", status=None)
    assert "runs a module by a computed name" in planned and "Traceback" not in planned


def test_a_parameter_runs_the_stages_for_which_it_counts(real):
    text = (real.folder / "params.yaml").read_text()
    for old, new in (
        (r"^  batch_tokens: \d+", "  batch_tokens: 99"),
        (r"^    max_gb: \S+", "    max_gb: 9.5"),
        (r"^tables:\n", "tables:\n  other: {interactions: a.csv}\n"),
    ):
        real.edit("params.yaml", old, new)
    assert real.planned() == {"code"}
    real.repro()
    real.assert_clean()
    (real.folder / "params.yaml").write_text(text)
    real.edit("params.yaml", r"^  ease:.*\n    l2: \S+", "  ease:\n    l2: 7.0")
    assert real.planned() == {"code", "report", *OF_EASE}
    words = "ease@books-0: stale: params.yaml settings.ease.l2 100.0 -> 7.0\n"
    assert real("glta", "why", "ease") == words
    real("dvc", "repro", "code")
    assert real("glta", "why", "ease") == words
    known = real.runs()
    real.snakemake()
    assert new_runs(real, known) == {"report", *OF_EASE}
    real.assert_clean()
    trained = next(run for run in real.runs() if run.data.tags["stage"] == "ease@books-0")
    assert trained.data.params == {"settings.ease.l2": "7.0"}
    real.edit("params.yaml", r"settings: \{(.*) ease: \{\}", r"settings: {\1 ease: {l2: 7.0}")
    real.edit("params.yaml", r"^  ease:.*\n    l2: \S+", "  ease:\n    l2: 8.0")
    assert real.planned() == {"code"}


def test_parameters_that_are_edited_before_their_stage_runs_are_named(real):
    """The stage `code` does not run, as with `dvc repro -s`."""
    real.edit("params.yaml", r"^  ease:.*\n    l2: \S+", "  ease:\n    l2: 7.0")
    output = real("dvc", "repro", "-f", "-s", "ease@books-0", status=None)
    words = "ease@books-0: params.yaml settings.ease.l2 was edited after its hash was taken"
    assert words in output and "Traceback" not in output


def test_the_commands_of_dvc_show_one_number_a_method(real):
    """A table that shows all metrics of all methods, each twice, shows nothing."""
    real.commit("finished")
    methods = ("ease", "item-knn", "popularity")
    assert real("dvc", "metrics", "diff") == ""
    shown = json.loads(real("dvc", "metrics", "show", "--json"))[""]["data"]
    assert [*shown] == ["data/report/summary.json"]
    assert sorted(shown["data/report/summary.json"]["data"]["ndcg@20"]["books"]) == [*methods]
    real.edit("params.yaml", r"^  ease:.*\n    l2: \S+", "  ease:\n    l2: 7.0")
    assert real("dvc", "params", "diff").splitlines()[1].split() == [
        "params.yaml",
        "settings.ease.l2",
        "100.0",
        "7.0",
    ]
    real.snakemake()
    line = real("dvc", "metrics", "diff").splitlines()[1]
    assert line.split()[:2] == ["data/report/summary.json", "ndcg@20.books.ease"]
    drop = "^(data|glta|pipeline|params)"
    table = real("dvc", "exp", "show", "--csv", "--only-changed", "--drop", drop)
    names = table.splitlines()[0].split(",")
    assert len(names) < 20 and "settings.ease.l2" in names and "ndcg@20.books.ease" in names
    real("dvc", "plots", "show", "--out", "shown")
    page = (real.folder / "shown/index.html").read_text()
    assert "Test metric by method" in page and "Item-kNN" in page
    assert len(real("dvc", "dag", "--collapse-foreach-matrix", "--mermaid").splitlines()) < 60


@pytest.mark.parametrize("engine", ["snakemake", "dvc"])
def test_naming_what_is_served_runs_the_stage_of_its_bundle_alone(real, engine):
    real.edit("params.yaml", r"^serve: \[\]", "serve: [ease]")
    real("glta", "params", "sync")
    assert real.planned() == {"code", "bundle@books-0-ease"}
    known = real.runs()
    real.snakemake() if engine == "snakemake" else real.repro()
    assert new_runs(real, known) == {"code", "bundle@books-0-ease"}
    real.assert_clean()
    prepared = real.folder / "data/books/0/prepare"
    item = pl.read_parquet(prepared / "items.parquet")["item_id"][0]
    said = real("glta", "bundle", "similar", "data/books/0/bundles/ease", item, "-k", "2")
    assert len(said.splitlines()) == 2
    real.edit("params.yaml", r"^serve: \[ease\]", "serve: []")
    real("glta", "params", "sync")
    assert real.planned() <= {"code"}
