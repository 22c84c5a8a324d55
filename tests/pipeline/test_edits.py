"""Test that an edit of code, or of the list of methods, makes exactly the right stages stale."""

from __future__ import annotations

import os
import shutil

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
    words = "error: plan.yaml: did not fit the methods or datasets of params.yaml"
    assert [line for line in output.splitlines() if line.startswith("error: ")] == [
        f"{words}; it has been brought up to date: run the same command again"
    ]
    assert "Traceback" not in output and "missing data" not in output
    assert [*plan(real)] == ["profile", "popularity", "text-knn", "ease"]
    known = real.runs()
    real.repro()
    made = {"profile@books-0", "text-knn@books-0"}
    made |= {"recommend@books-0-text-knn", "evaluate@books-0-text-knn"}
    assert new_runs(real, known) == {"code", "report", *made}
    real.assert_clean()


def test_snakemake_brings_the_plan_up_to_date_by_itself(real):
    real.edit("params.yaml", r"^methods: \[.*\]", "methods: [popularity, text-knn, ease]")
    output = real.snakemake()
    assert "plan.yaml: updated for the methods of params.yaml" in output
    assert [*plan(real)] == ["profile", "popularity", "text-knn", "ease"]
    real.assert_clean()
    assert "didn't change" in real.repro()
