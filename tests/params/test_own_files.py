"""Files of the user's own: a change is noticed, and stating it makes results stale."""

import os
from pathlib import Path

import pytest

from glta.datasets.fetch import download
from glta.datasets.settings import TableSettings
from glta.params.model import Params
from glta.params.own_files import refuse_changed, with_checksums
from glta.storage.files import sha256_of

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
