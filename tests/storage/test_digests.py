"""Digests that are remembered: every change of a file is seen, and nothing is read in vain."""

import os
import shutil

import pytest

from glta.storage import digests
from glta.storage.digests import digest_of, digest_of_folder
from glta.storage.files import sha256_of


@pytest.fixture(autouse=True)
def settled(tmp_path, monkeypatch):
    """Work in a folder of its own, in which files are remembered at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(digests, "SETTLED_SECONDS", -10.0)


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Return the list of the files that are read from now on."""
    names: list[str] = []

    def counted(path):
        names.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(digests, "sha256_of", counted)
    return names


def test_an_unchanged_file_is_read_once(tmp_path, read):
    (tmp_path / "a").write_text("one")
    assert digest_of("a") == digest_of(tmp_path / "a") == sha256_of(tmp_path / "a")
    assert read == ["a"]


def copied_over(new, old):
    shutil.copy2(new, old)


def renamed_over(new, old):
    new.replace(old)


def edited_in_place(new, old):
    before = old.stat()
    old.write_bytes(new.read_bytes())
    os.utime(old, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [copied_over, renamed_over, edited_in_place])
def test_a_change_that_keeps_size_and_time_is_seen(change, tmp_path):
    """`cp -p`, `rsync -a`, and an edit whose time is set back."""
    old = tmp_path / "old"
    new = tmp_path / "new"
    old.write_text("user,1")
    new.write_text("user,2")
    for path in (old, new):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    first = digest_of(old)
    change(new, old)
    assert old.stat().st_mtime == 1_000_000_000
    assert digest_of(old) == sha256_of(old) != first


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path, read, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED_SECONDS", 3.0)
    (tmp_path / "a").write_text("one")
    digest_of("a")
    digest_of("a")
    assert read == ["a", "a"]


@pytest.mark.parametrize("content", ["", "[]", "{}", "\udcff"])
def test_a_damaged_note_is_not_used(content, tmp_path):
    (tmp_path / "a").write_text("one")
    digest_of("a")
    (note,) = digests.REMEMBERED.iterdir()
    note.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert digest_of("a") == sha256_of(tmp_path / "a")


def test_where_no_note_can_be_written_the_file_is_read(tmp_path):
    (tmp_path / ".cache").write_text("a file is in the way")
    (tmp_path / "a").write_text("one")
    assert digest_of("a") == sha256_of(tmp_path / "a")


def test_a_folder_is_the_names_and_contents_of_its_files(tmp_path):
    folder = tmp_path / "f"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/a").write_text("one")
    (folder / "b").write_text("two")
    first = digest_of_folder(folder)
    (folder / ".hidden").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git/x").write_text("x")
    assert digest_of_folder(folder) == first
    shutil.copytree(folder, tmp_path / "g")
    assert digest_of_folder(tmp_path / "g") == first
    (folder / "b").rename(folder / "c")
    assert digest_of_folder(folder) != first
    assert digest_of_folder(folder, [folder / "inner/a"]) != first
