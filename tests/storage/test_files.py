"""Files and folders are whole or not there, and equal values give equal bytes."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from glta.storage.files import full_disk as told
from glta.storage.files import (
    read_json,
    sha256_of,
    sha256_of_all,
    whole_folder,
    write_json,
    write_whole,
)
from glta.storage.tables import write_table


@pytest.fixture
def full_disk(monkeypatch):
    """Make every fsync fail, the last call at which a full disk shows."""

    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", fail)


def test_folder_takes_the_place_of_the_old_one(tmp_path):
    for content in ("old", "new"):
        with whole_folder(tmp_path / "out") as out:
            assert list(out.iterdir()) == []
            (out / content).write_text(content)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_folder_of_a_link_is_replaced_and_the_link_stays(tmp_path):
    there, link = tmp_path / "deep" / "v1", tmp_path / "current"
    there.mkdir(parents=True)
    (there / "old").write_text("old")
    link.symlink_to(there)
    with whole_folder(link) as out:
        (out / "new").write_text("new")
    assert link.is_symlink()
    assert [path.name for path in there.iterdir()] == ["new"]
    assert [path.name for path in there.parent.iterdir()] == ["v1"]


def test_folder_is_not_seen_before_it_is_whole(tmp_path):
    with whole_folder(tmp_path / "deep" / "out"):
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out").exists()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_error_leaves_the_old_folder(tmp_path, error):
    with whole_folder(tmp_path / "out") as out:
        (out / "file").write_text("old")
    with pytest.raises(error), whole_folder(tmp_path / "out") as out:
        (out / "file").write_text("half")
        raise error
    assert (tmp_path / "out" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_run_left_is_not_taken_over(tmp_path):
    left = tmp_path / ".out.partial"
    left.mkdir()
    (left / "half").write_text("x")
    with whole_folder(tmp_path / "out") as out:
        (out / "file").write_text("new")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]


class Killed(BaseException):
    """Stand for a kill, after which no line of the process runs."""


@pytest.fixture
def killed_at(monkeypatch):
    """Return a function that writes a folder, and is killed at its n-th change of a folder.

    Returns whether there was such a change.
    """

    def write(folder, content: str, change: int) -> bool:
        count = iter(range(change))

        def counted(call):
            def made(*arguments, **options):
                # after a kill, nothing is changed any more
                if next(count, None) is None:
                    raise Killed
                return call(*arguments, **options)

            return made

        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.replace", counted(Path.replace))
            patch.setattr("shutil.rmtree", counted(shutil.rmtree))
            try:
                with whole_folder(folder) as out:
                    (out / "file").write_text(content)
            except Killed:
                return True
        return False

    return write


def test_a_kill_at_any_moment_loses_no_folder(tmp_path, killed_at):
    folder, aside = tmp_path / "out", tmp_path / ".out.old"
    was_aside = False
    for change in range(20):
        with whole_folder(folder) as out:
            (out / "file").write_text("old")
        if not killed_at(folder, "new", change):
            break
        there = [place for place in (folder, aside) if place.exists()]
        assert {(place / "file").read_text() for place in there} & {"old", "new"}
        was_aside |= not folder.exists()
        expected = (there[0] / "file").read_text()
        # the next write begins with what is there, and an error in it leaves that
        with pytest.raises(ValueError), whole_folder(folder):
            raise ValueError
        assert (folder / "file").read_text() == expected
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert change > 3 and was_aside
    assert (folder / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_new_folder_that_cannot_come_leaves_the_old_one(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    with whole_folder(folder) as out:
        (out / "file").write_text("old")
    replace = Path.replace

    def fail(path, target):
        if path.name == ".out.partial":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return replace(path, target)

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError), whole_folder(folder) as out:
        (out / "file").write_text("new")
    assert (folder / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_file_is_replaced(tmp_path):
    path = tmp_path / "deep" / "file"
    for content in ("old", b"new"):
        write_whole(path, content)
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_full_disk_leaves_the_old_file(tmp_path, full_disk):
    path = tmp_path / "file"
    path.write_text("old")
    for write in (write_whole, lambda path, _: write_table(path, pl.DataFrame({"a": [1]}))):
        with pytest.raises(OSError, match="No space left") as error:
            write(path, "new")
        assert "the disk is full, or a limit is reached" in told(error.value)
    assert told(OSError("another")) == ""
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_json_has_one_form(tmp_path):
    for name, value in (("a", {"b": 1.5, "a": ["ü", None]}), ("b", {"a": ["ü", None], "b": 1.5})):
        write_json(tmp_path / name, value)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_json(tmp_path / "a") == {"a": ["ü", None], "b": 1.5}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_is_no_number(tmp_path, value):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "file", {"loss": value})
    assert list(tmp_path.iterdir()) == []


def test_broken_json_is_named(tmp_path):
    (tmp_path / "half.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"half\.json: not readable as JSON.*delete it"):
        read_json(tmp_path / "half.json")


def test_json_in_another_encoding_is_named(tmp_path):
    (tmp_path / "latin.json").write_bytes('{"a": "é"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.json: not readable as JSON.*delete it"):
        read_json(tmp_path / "latin.json")


def test_sha256(tmp_path):
    content = bytes(range(256)) * 9000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_the_hash_of_several_files_is_that_of_names_and_contents_in_any_order(tmp_path):
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_text("a")
    two.write_text("b")
    found = {sha256_of_all([one, two]), sha256_of_all([two, one])}
    one.write_text("c")
    found |= {sha256_of_all([one, two])}
    one.write_text("a")
    found |= {sha256_of_all([one, two.rename(tmp_path / "3")])}
    assert len(found) == 3
