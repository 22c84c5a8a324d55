"""Files of the user's own: a change is noticed, and stating it makes results stale."""

import os
import shutil
from pathlib import Path

import pytest

from glta.datasets.fetch import download
from glta.datasets.settings import TableSettings
from glta.params.model import Params
from glta.params.own_files import refuse_changed, refuse_outdated, with_checksums
from glta.storage.files import sha256_of
from pipeline.stages import script

LOG, ITEMS = Path("my/log.csv"), Path("my/items.csv")


@pytest.fixture
def read(tmp_path, monkeypatch) -> Params:
    """Write two files and let the stage `download` read them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLTA_MIRROR", raising=False)
    LOG.parent.mkdir()
    LOG.write_text("user_id,item_id\n1,1\n")
    ITEMS.write_text("item_id,title\n1,One\n")
    params = Params(
        datasets=["mine"], tables={"mine": TableSettings(interactions=str(LOG), items=str(ITEMS))}
    )
    download("mine", params.tables, Path("data/mine/download"))
    return params


@pytest.mark.parametrize("path", [LOG, ITEMS])
@pytest.mark.parametrize("edit", [("1", "3"), ("1", "12")], ids=["as long", "longer"])
def test_a_change_is_noticed_until_it_is_stated(read, path, edit):
    refuse_changed(read, Path("data"))
    path.write_text(path.read_text().replace(*edit))
    with pytest.raises(
        ValueError, match=rf"mine: {path} has changed since it was read: `glta params sync`"
    ):
        refuse_changed(read, Path("data"))
    stated = with_checksums(read)
    assert stated.tables != read.tables
    refuse_changed(stated, Path("data"))
    download("mine", stated.tables, Path("data/mine/download"))
    assert Path("data/mine/download", path.name).read_bytes() == path.read_bytes()
    refuse_changed(stated, Path("data"))


def test_a_stated_checksum_refuses_the_next_change(read):
    stated = with_checksums(read)
    refuse_changed(stated, Path("data"))
    LOG.write_text("user_id,item_id\n7,7\n")
    with pytest.raises(ValueError, match=r"my/log\.csv has changed"):
        refuse_changed(stated, Path("data"))
    with pytest.raises(ValueError, match=r"log\.csv: wrong sha256: .*`glta params sync`"):
        download("mine", stated.tables, Path("data/mine/download"))


def test_equal_content_and_other_datasets_are_no_change(read):
    LOG.touch()
    refuse_changed(read, Path("data"))
    LOG.write_text("other\n")
    refuse_changed(read.model_copy(update={"datasets": ["sample"]}), Path("data"))
    refuse_changed(read, Path("elsewhere"))


def test_time_that_runs_backwards_hides_no_longer_file(read):
    LOG.write_text("user_id,item_id\n1,1\n2,2\n")
    os.utime(LOG, (0, 0))
    with pytest.raises(ValueError, match="has changed"):
        refuse_changed(read, Path("data"))


@pytest.mark.parametrize("replace", [shutil.copy2, shutil.move], ids=["cp -p", "rsync -a"])
def test_another_file_of_the_same_size_and_an_older_time_is_noticed(replace, read):
    stated = with_checksums(read)
    refuse_changed(stated, Path("data"))
    other = Path("other.csv")
    other.write_text(LOG.read_text().replace("1,1", "1,2"))
    os.utime(other, (1_000_000_000, 1_000_000_000))
    replace(other, LOG)
    assert LOG.stat().st_mtime == 1_000_000_000
    for check in (
        lambda: refuse_changed(stated, Path("data")),
        lambda: refuse_outdated(stated, "mine", Path("data")),
    ):
        with pytest.raises(ValueError, match=r"my/log\.csv has changed .*`glta params sync`"):
            check()
    assert with_checksums(stated).tables != stated.tables


def test_a_stage_refuses_the_old_copy_of_a_file(read):
    refuse_outdated(read, "mine", Path("data"))
    LOG.write_text("user_id,item_id\n7,7\n")
    stated = with_checksums(read)
    with pytest.raises(
        ValueError, match=r"mine: my/log\.csv has changed, and data/mine/download has its old copy"
    ):
        refuse_outdated(stated, "mine", Path("data"))
    download("mine", stated.tables, Path("data/mine/download"))
    refuse_outdated(stated, "mine", Path("data"))


@pytest.mark.parametrize("copies_files", [True, False])
def test_all_stages_but_the_one_that_copies_look_at_the_files(copies_files, read, monkeypatch):
    monkeypatch.setattr(script, "load_params", lambda: read)
    monkeypatch.setattr(script, "enter_project", lambda: None)
    monkeypatch.setattr("sys.argv", ["stage", "--dataset", "mine"])
    monkeypatch.setenv("GLTA_READS", "reads.json")
    ran = []

    def main(params: Params, dataset: str) -> None:
        ran.append(dataset)

    script.run(main, copies_files=copies_files)
    # the runner takes what a stage reads and does not depend on for a mistake in the stage
    assert Path("reads.json").read_text() == "[]"
    LOG.write_text("user_id,item_id\n7,7\n")
    if copies_files:
        script.run(main, copies_files=True)
    else:
        with pytest.raises(SystemExit, match=r"error: mine: my/log\.csv has changed"):
            script.run(main)
    assert ran == ["mine"] * (1 + copies_files)


def test_a_folder_of_parts_has_one_checksum(read):
    parts = Path("my/parts")
    (parts / "inner").mkdir(parents=True)
    (parts / "a.csv").write_text("user_id,item_id\n1,1\n")
    (parts / "inner/b.csv").write_text("user_id,item_id\n1,1\n")
    table = TableSettings(interactions=f"{parts}/", items=str(ITEMS))
    params = with_checksums(read.model_copy(update={"tables": {"mine": table}}))
    about = download("mine", params.tables, Path("data/mine/download"))
    assert set(about["files"]) == {"items.csv", "parts/a.csv", "parts/inner/b.csv"}
    (parts / "_SUCCESS").touch()
    refuse_changed(params, Path("data"))
    refuse_outdated(params, "mine", Path("data"))
    assert with_checksums(params) == params
    (parts / "inner/b.csv").write_text("user_id,item_id\n1,2\n")
    with pytest.raises(ValueError, match="my/parts has changed"):
        refuse_changed(params, Path("data"))
    with pytest.raises(ValueError, match="parts: wrong sha256"):
        download("mine", params.tables, Path("data/mine/download"))


def test_a_folder_without_files_is_refused(read):
    Path("my/empty").mkdir()
    table = TableSettings(interactions="my/empty", items=str(ITEMS))
    with pytest.raises(ValueError, match="my/empty: is a folder without files"):
        download("mine", {"mine": table}, Path("data/mine/download"))


def test_files_of_a_mirror_and_checksums_that_hold_are_left_as_they_are(read):
    table = TableSettings(
        interactions="mirror.csv",
        items=str(ITEMS),
        items_sha256=f"sha256:{sha256_of(ITEMS).upper()}",
    )
    there = read.model_copy(
        update={
            "tables": {
                "mine": table,
                "web": TableSettings(interactions="https://localhost/log.csv"),
            }
        }
    )
    assert with_checksums(there) == there
