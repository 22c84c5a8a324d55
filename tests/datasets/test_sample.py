"""The sample has the same bytes every time, a long tail, and texts that tell the theme alone."""

import gzip

import numpy as np
import polars as pl
import pytest

from glta.data.prepare import prepare
from glta.datasets import sample
from glta.datasets.fetch import download
from glta.datasets.readers import read_dataset
from glta.datasets.sample_words import THEMES
from glta.params.model import Params
from glta.storage.files import sha256_of


@pytest.fixture(scope="module")
def made():
    return sample.make()


def test_equal_bytes(tmp_path):
    hashes = []
    for run in ("a", "b"):
        source = download("sample", {}, tmp_path / run)
        hashes.append([sha256_of(path) for path in sorted((tmp_path / run).iterdir())])
    assert hashes[0] == hashes[1]
    assert source["synthetic"]
    assert sorted(source["files"]) == ["interactions.csv.gz", "items.csv.gz"]
    assert gzip.decompress((tmp_path / "a" / "items.csv.gz").read_bytes()).startswith(
        b"item_id,title,description,categories\n1,"
    )


def test_size_and_skew(made):
    interactions, items = made
    degree = np.sort(interactions["item_id"].value_counts()["count"].to_numpy())[::-1]
    assert interactions["user_id"].n_unique() == 800
    assert items.height == 600
    assert 22_000 < interactions.height < 28_000
    assert not interactions.select("user_id", "item_id").is_duplicated().any()
    assert interactions["user_id"].value_counts()["count"].min() >= sample.MIN_HISTORY
    assert degree[:60].sum() > 0.2 * degree.sum()  # the most popular tenth
    assert degree.max() > 5 * np.median(degree)
    assert interactions["rating"].is_between(1, 5).all()
    assert 3 < interactions["rating"].mean() < 4.5


def test_texts_are_readable_and_distinct(made):
    items = made[1]
    assert items["title"].n_unique() == items.height
    assert items["description"].str.contains(r"^[A-Z].*\. [A-Z].*\.$").all()
    assert not items["description"].str.contains(r"[{}]").any()
    assert (
        not items.select(
            pl.concat_str("title", "description", separator=" ").str.contains(r"(?i)\ba [aeio]")
        )
        .to_series()
        .any()
    )
    assert items["categories"].n_unique() == 10


def test_readers_choose_by_what_texts_tell(made):
    """Count how often two random books of one reader share a category, against chance."""
    interactions, items = made
    category = items["categories"].to_numpy()[interactions["item_id"].to_numpy() - 1]
    user = interactions["user_id"].to_numpy()
    next_same = (category[1:] == category[:-1])[user[1:] == user[:-1]].mean()
    shuffled = np.random.default_rng(0).permutation(category)
    assert next_same > 1.5 * (shuffled[1:] == shuffled[:-1]).mean()


def test_every_theme_has_its_words():
    assert len(THEMES) == 30
    assert all(len(set(words)) >= 10 for _, _, words in THEMES)


def test_the_stages_take_it(tmp_path):
    params = Params()
    download("sample", params, tmp_path / "download")
    tables = prepare(
        read_dataset("sample", params.tables, tmp_path / "download"), params.prepare, 0
    )
    assert tables.counts["users"] == 800
    assert tables.counts["items"] >= 595
    assert tables.counts["cold"] == {"users": 0, "items": 0, "valid": 0, "test": 0}
    assert tables.counts["text"]["description"]["share"] == 1
