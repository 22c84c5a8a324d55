"""Test `glta push` in one checkout, and `git clone` and `glta pull` in another.

Nothing that one has computed is computed again by the other.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipeline.repository import DOWNSTREAM, REPOSITORY, Toy

pytestmark = pytest.mark.engines


@pytest.fixture
def shared(toy, tmp_path) -> Toy:
    """Give the finished toy a remote in a folder, and commit it."""
    toy("dvc", "remote", "add", "-q", "-d", "folder", str(tmp_path / "remote"))
    toy.commit("remote")
    return toy


def clone(toy: Toy) -> Toy:
    folder = toy.folder.with_name("clone")
    subprocess.run(["git", "clone", "-q", toy.folder, folder], check=True)
    for name in ("glta", "pipeline"):
        (folder / name).symlink_to(REPOSITORY / name)
    theirs = Toy(folder)
    theirs.env["PATH"] = toy.env["PATH"]
    return theirs


def test_a_clone_has_nothing_to_do_whatever_the_times(shared):
    assert "files pushed" in shared("glta", "push")
    theirs = clone(shared)
    assert theirs.stale() == {*DOWNSTREAM, "prepare", "data/raw.txt.dvc"}
    assert "files pulled" in theirs("glta", "pull")
    now = time.time()
    for moment in (lambda: now - 1e6, lambda: now + 1e6, lambda: now + random.uniform(-1e6, 1e6)):
        for path in theirs.folder.rglob("*"):
            if not path.is_symlink() and not path.is_relative_to(theirs.folder / ".git"):
                os.utime(path, (moment(),) * 2)
        assert theirs.stale() == set()
        theirs.assert_clean()
    assert "didn't change" in theirs.repro()
    theirs.snakemake()
    assert theirs.executed() == [] and not (theirs.folder / "mlflow.db").exists()
    assert "0 files pushed" in theirs("glta", "push")


@pytest.mark.slow
def test_a_clone_restores_what_others_have_computed(shared):
    """Both engines of a clone restore the results of two parameter values that were computed here.

    The first value's results are in the run cache alone.
    """
    shared.set_steps(31)
    shared.snakemake()
    shared.commit("results")
    shared("glta", "push")
    theirs = clone(shared)
    theirs("glta", "pull")
    for steps, engine in (
        (21, theirs.snakemake),
        (31, theirs.repro),
        (21, theirs.repro),
        (31, theirs.snakemake),
    ):
        theirs.set_steps(steps)
        assert theirs.stale()
        engine()
        assert theirs.executed() == [], steps
        assert f"{steps}" in (theirs.folder / "data/models/popularity/model.txt").read_text()
        theirs.assert_clean()


def test_paid_answers_are_merged(shared):
    answers = Path(".cache/profile/model.jsonl")
    (shared.folder / answers).parent.mkdir(parents=True)
    (shared.folder / answers).write_text('{"key": "a"}\n{"key": "b"}\n')
    shared("glta", "push")
    theirs = clone(shared)
    (theirs.folder / answers).parent.mkdir(parents=True)
    (theirs.folder / answers).write_text('\n{"key": "c"}\n\n{"key": "a"}\n{"torn')
    theirs("glta", "pull")
    lines = (theirs.folder / answers).read_text().splitlines()
    assert [lines.count(f'{{"key": "{key}"}}') for key in "abc"] == [1, 1, 1]
    theirs("glta", "push")
    shared("glta", "pull")
    assert '{"key": "c"}' in (shared.folder / answers).read_text().splitlines()
    assert "0 files pushed" in shared("glta", "push") and "0 files pulled" in theirs("glta", "pull")


def test_mistakes_are_one_line(toy):
    def refused(toy: Toy, command: str, line: str) -> None:
        output = toy("glta", command, status=1)
        assert line in output.splitlines()[-1] and "Traceback" not in output

    for command in ("push", "pull"):
        refused(toy, command, "no DVC remote is set; name one: `dvc remote add -d NAME URL`")
    toy("dvc", "remote", "add", "-q", "-d", "far", "ssh://localhost/glta")
    refused(toy, "pull", "the DVC remote cannot be used")
    toy("dvc", "remote", "modify", "far", "url", "/proc/none")
    refused(toy, "push", "/proc/none")
    toy("dvc", "remote", "modify", "far", "url", str(toy.folder.with_name("remote")))
    toy.commit("remote")
    theirs = clone(toy)
    refused(
        theirs,
        "pull",
        "results of this commit (data/evaluate/popularity/metrics.json, ...); ask the colleague",
    )
    refused(theirs, "push", "that are not here either")
    toy("glta", "push")
    lost = next(
        file
        for file in toy.folder.with_name("remote").glob("files/md5/*/*")
        if file.read_bytes().startswith(b"popularity 21")
    )
    lost.unlink()
    refused(theirs, "pull", "ask the colleague who made them to run `make push`")
    # DVC remembers that it has pushed this file, but it is pushed again
    assert "1 files pushed" in toy("glta", "push")
    theirs("glta", "pull")
    (theirs.folder / "data/prepare/pairs.txt").write_text("by hand")
    refused(theirs, "pull", "data/prepare/pairs.txt; move them away")
    shutil.rmtree(theirs.folder / "data/prepare")
    theirs("glta", "pull")
