"""The registry and the presets of papers."""

import re
from pathlib import Path

import polars as pl
import pytest

from glta.data.settings import PrepareSettings
from glta.datasets.catalogue import REGISTRY
from glta.datasets.presets import PRESETS, compare
from glta.datasets.readers import READERS, read_dataset
from glta.params.check import check_params, whole_overrides
from glta.params.model import Params
from glta.storage.files import read_json, write_json
from tests.datasets.formats import TINY_DATASETS


@pytest.mark.parametrize("name", REGISTRY)
def test_every_dataset_is_described(name):
    d = REGISTRY[name]
    assert d.name == name
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", name)
    assert d.reader in READERS
    assert d.licence
    assert d.synthetic or (d.citation and d.files and d.homepage.startswith("https://"))
    names = [file.name for file in d.files.values()]
    assert len(set(names)) == len(names)
    for file in d.files.values():
        assert file.by_hand or file.address.startswith("https://")
        assert re.fullmatch(r"|sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", file.checksum)
    assert "archive" not in d.files or d.file.name == names[0]


def test_movielens_has_published_checksums():
    movielens = [d for name, d in REGISTRY.items() if name.startswith("ml-")]
    assert len(movielens) == 7
    assert all(d.file.checksum for d in movielens)
    assert (
        REGISTRY["ml-1m"].file.address == "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
    )
    assert REGISTRY["ml-1m"].file.name == "ml-1m.zip"


def test_addresses_of_amazon_and_goodreads():
    ucsd = "https://mcauleylab.ucsd.edu/public_datasets/"
    addresses = {name: [f.address for f in REGISTRY[name].files.values()] for name in REGISTRY}
    snap = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"
    assert addresses["amazon-2014-beauty"] == [
        snap + "reviews_Beauty_5.json.gz",
        snap + "meta_Beauty.json.gz",
    ]
    assert addresses["amazon-2018-all-beauty"] == [
        ucsd + "data/amazon_v2/categoryFilesSmall/All_Beauty_5.json.gz",
        ucsd + "data/amazon_v2/metaFiles2/meta_All_Beauty.json.gz",
    ]
    assert addresses["amazon-2023-all-beauty"][1].endswith(
        "amazon_2023/raw/meta_categories/meta_All_Beauty.jsonl.gz"
    )
    assert [
        sum(name.startswith(f"amazon-{year}-") for name in REGISTRY) for year in (2014, 2018, 2023)
    ] == [24, 29, 34]
    assert (
        addresses["goodreads-poetry"][2]
        == ucsd + "gdrive/goodreads/goodreads_book_genres_initial.json.gz"
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_and_shares_its_files(name):
    preset = PRESETS[name]
    assert REGISTRY[name].files == REGISTRY[preset.source].files
    assert REGISTRY[name].source == preset.source
    assert not REGISTRY[preset.source].source
    prepare = Params().for_dataset(name).prepare
    assert prepare == PrepareSettings.model_validate(
        PrepareSettings().model_dump() | preset.prepare
    )
    # what a preset does not set must not depend on the general section
    assert {"min_rating", "since", "until", "user_core", "item_core", "duplicates", "split"} <= set(
        preset.prepare
    )


def test_a_preset_stands_between_the_general_section_and_its_overrides():
    general = {"user_core": 9, "split": "global_time", "target_share": 0.5}
    params = Params.model_validate(
        {"prepare": general, "overrides": {"glta-movielens": {"prepare": {"item_core": 3}}}}
    )
    prepare = params.for_dataset("glta-movielens").prepare
    assert (prepare.user_core, prepare.item_core, prepare.split, prepare.target_share) == (
        1,
        3,
        "random",
        0.5,
    )
    assert params.for_dataset("ml-1m").prepare.user_core == 9


def test_a_preset_is_a_dataset_of_params_yaml():
    data = Params().model_dump() | {"datasets": ["glta-movielens"]}
    data["overrides"] = {"glta-movielens": whole_overrides({})}
    assert check_params(data).for_dataset("glta-movielens").prepare.user_core == 1


COUNTS = {"users": 6040, "items": 3706, "interactions": 1_000_209, "train": 1}


def test_the_documentation_tells_of_every_preset():
    rows = Path("docs/datasets.md").read_text(encoding="utf-8").splitlines()
    for name, preset in PRESETS.items():
        (row,) = [row for row in rows if row.startswith(f"| `{name}` |")]
        assert f"| `{preset.source}` |" in row
        assert " / ".join(f"{n:,}" for n in preset.published.values()) in row


def test_published_counts_that_agree():
    assert compare("glta-movielens", COUNTS, must_agree=True)["agrees"]
    assert compare("ml-1m", COUNTS, must_agree=True) is None


def test_published_counts_that_differ_are_both_shown():
    with pytest.raises(
        ValueError,
        match=r"glta-movielens: users 6,040 published, 6,039 found; items 3,706 published, 3,706 "
        r"found; interactions .*"
        r"2502\.18757\); the files or the filters differ: .*overrides\.glta-movielens\.prepare",
    ):
        compare("glta-movielens", COUNTS | {"users": 6039}, must_agree=True)
    assert not compare("glta-movielens", COUNTS | {"users": 6039}, must_agree=False)["agrees"]
    with pytest.raises(ValueError, match="the filters are not stated, ours are a guess"):
        compare("glta-goodreads", COUNTS, must_agree=True)


def test_a_preset_runs_from_file_to_tables(tmp_path, monkeypatch):
    """The stage prepare reads a tiny file of the true format.

    It refuses the counts, or only notes them where that is asked for.
    """
    from pipeline.stages import prepare as stage

    (tmp_path / "data/lightgcn-gowalla/download").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    tiny = next(s for s in TINY_DATASETS if s.dataset == "split-gowalla")
    write_json(tmp_path / "data/lightgcn-gowalla/download/source.json", {"licence": "theirs"})
    content = b"".join(b"%d %d %d %d\n" % (u, u, u + 1, u + 2) for u in range(40))
    tiny.write(tmp_path / "data/lightgcn-gowalla/download", log=content, catalogue=b"0 5\n1 6\n")
    overrides = {"lightgcn-gowalla": {"prepare": {"valid_share": 0.4}}}
    params = Params.model_validate({"overrides": overrides}).for_dataset("lightgcn-gowalla")
    with pytest.raises(ValueError, match="users 29,858 published, 40 found"):
        stage.main(params, "lightgcn-gowalla", 0)
    assert not (tmp_path / "data/lightgcn-gowalla/0").exists()
    overrides["lightgcn-gowalla"]["prepare"]["published"] = "report"
    stage.main(
        Params.model_validate({"overrides": overrides}).for_dataset("lightgcn-gowalla"),
        "lightgcn-gowalla",
        0,
    )
    out = tmp_path / "data/lightgcn-gowalla/0/prepare"
    assert pl.read_parquet(out / "test.parquet").select("user", "item").rows() == [(0, 5), (1, 6)]
    card = read_json(out / "card.json")
    assert card["source"] == {"licence": "theirs"}
    assert card["prepare"]["split"] == "given"
    assert not card["published"]["agrees"]
    assert card["counts"]["leakage"]["pairs_in_two_parts"] == 0
    assert [step["step"] for step in card["counts"]["steps"]] == ["read", "duplicates", "core"]
    train, valid = (pl.read_parquet(out / f"{part}.parquet") for part in ("train", "valid"))
    # 0.4 of three items: one for most users, two for some; 48 of 120 are expected
    assert set(valid["user"].value_counts()["count"]) == {1, 2}
    assert (train.height, valid.height) == (70, 50)


def test_readers_of_presets_are_those_of_their_source(tmp_path):
    tiny = next(s for s in TINY_DATASETS if s.dataset == "ml-1m")
    assert (
        read_dataset("glta-movielens", Params().tables, tiny.write(tmp_path)).interactions.height
        == 3
    )
