"""Test that git's answer is recorded as it is, and that a refusal is never a clean commit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.tracking.commit import Commit, content_at, current_commit, has_commit


def git(folder: Path, *args: str) -> str:
    own = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "protocol.file.allow=always"]
    command = ["git", "-C", str(folder), *own, *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit_all(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    """Make a repository with one commit, and go there."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "code"
    (folder / "glta").mkdir(parents=True)
    (folder / "dvc.yaml").write_text("stages: {}")
    (folder / "glta/model.py").write_text("1")
    git(folder, "init", "-q")
    commit_all(folder)
    monkeypatch.chdir(folder)
    return folder


def test_changes_of_code_count_and_results_do_not(code):
    head = git(code, "rev-parse", "HEAD")
    assert current_commit() == Commit(head, False)
    (code / "dvc.lock").write_text("results")
    (code / "data").mkdir()
    (code / "data/result").write_text("results")
    (code / "notes.txt").write_text("a file that no stage imports")
    git(code, "add", "dvc.lock")
    assert current_commit() == Commit(head, False)
    (code / "glta/new.py").write_text("a module that was never added")
    assert current_commit() == Commit(head, True)
    (code / "glta/new.py").unlink()
    (code / "dvc.yaml").write_text("changed")
    assert current_commit() == Commit(head, True)
    assert current_commit().tags == {"git.commit": head, "git.dirty": "true"}


def test_detached_shallow_worktree_and_submodule_are_known(code, tmp_path, monkeypatch):
    head = git(code, "rev-parse", "HEAD")
    git(code, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    (code / "glta/model.py").write_text("2")
    last = commit_all(code)
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{code}", "shallow")
    git(tmp_path, "init", "-q", "above")
    git(tmp_path / "above", "submodule", "add", "-q", str(code), "sub")
    for folder, expected in (("tree", head), ("shallow", last), ("above/sub", last)):
        monkeypatch.chdir(tmp_path / folder)
        assert current_commit() == Commit(expected, False), folder
    monkeypatch.chdir(tmp_path / "shallow")
    has_commit.cache_clear()
    assert has_commit(last) and not has_commit(head)
    assert content_at(last, "glta/model.py") == b"2" and content_at(last, "none") is None
    has_commit.cache_clear()


def test_a_repository_without_a_commit_says_so(code):
    shutil.rmtree(code / ".git")
    git(code, "init", "-q")
    assert current_commit() == Commit("", True, "the repository has no commit yet")


def damage_index(code: Path) -> None:
    (code / ".git/index").write_text("damaged")


def lose_objects(code: Path) -> None:
    shutil.rmtree(code / ".git/objects")
    (code / ".git/objects").mkdir()


def remove(code: Path) -> None:
    shutil.rmtree(code / ".git")


def into_another_repository(code: Path) -> None:
    """The folder above is a repository of something else, as the home folder of some is."""
    remove(code)
    git(code.parent, "init", "-q")
    (code.parent / "other").write_text("1")
    git(code.parent, "add", "other")
    git(code.parent, "commit", "-qm", "other")


@pytest.mark.parametrize(
    ("change", "known", "problem"),
    [
        (damage_index, True, "index file smaller than expected"),
        (lose_objects, False, "HEAD cannot be read"),
        (remove, False, "not a git repository"),
        (into_another_repository, False, "git does not track dvc.yaml"),
    ],
)
def test_what_git_cannot_say_is_unknown(code, change, known, problem):
    head = git(code, "rev-parse", "HEAD")
    change(code)
    found = current_commit()
    assert found.id == (head if known else "") and found.dirty is None
    assert problem in found.problem and "\n" not in found.problem
    assert found.tags["git.dirty"] == "unknown" and found.tags["git.problem"] == found.problem


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (None, "git is not installed"),
        ('echo "Unknown option: --no-optional-locks" >&2; exit 129', "Unknown option"),
        (
            "printf \"fatal: detected dubious ownership in repository at '/x'\\nTo add an "
            'exception, call:\\n\\n\\tgit config --global --add safe.directory /x\\n" >&2; '
            "exit 128",
            "dubious ownership in repository at '/x'; `git config --global --add safe.directory "
            "/x` allows it",
        ),
    ],
)
def test_a_git_that_refuses_is_quoted(code, tmp_path, monkeypatch, script, problem):
    folder = tmp_path / "bin"
    folder.mkdir()
    if script:
        (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    found = current_commit()
    assert (found.id, found.dirty) == ("", None) and problem in found.problem


def test_variables_of_another_repository_are_not_followed(code, tmp_path, monkeypatch):
    """A git hook sets them for everything that it starts."""
    head = git(code, "rev-parse", "HEAD")
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "dvc.yaml").write_text("other")
    commit_all(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert current_commit() == Commit(head, False)
