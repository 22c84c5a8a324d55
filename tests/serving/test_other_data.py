"""A model, lists and metrics are used with the prepared data that they were made from alone."""

import shutil
from dataclasses import replace

import polars as pl
import pytest

from glta.data.made_from import NOTE
from glta.data.prepared import Prepared
from glta.params.model import Params
from glta.serving.answers import Answers
from glta.serving.cached_lists import cache
from glta.serving.recommend import recommend
from glta.storage.files import write_json
from glta.storage.shard import Shard
from glta.testing.blocks import block_prepared, write_prepared
from pipeline.stages import evaluate, recommend_join, train
from pipeline.stages import recommend as recommend_stage
from tests.serving.bundles import Shop

PARAMS = Params()
MODEL = r"models/ease(/refit)?: was not made from the prepared data .* `dvc repro ease@blocks-0`"


@pytest.fixture
def shop(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    return Shop.open(world, tmp_path)


def other_split(prepared: Prepared) -> Prepared:
    """Exchange the validation and the test pairs."""
    return replace(prepared, valid=prepared.test, test=prepared.valid)


def other_catalogue(prepared: Prepared) -> Prepared:
    """Give the items other ids."""
    return replace(prepared, items=prepared.items.with_columns(pl.col("item_id") + "b"))


def prepare_again(shop: Shop, change=other_split) -> None:
    shutil.rmtree(shop.world.cell.prepare)
    write_prepared(change(block_prepared()), shop.world.cell.prepare)


@pytest.mark.parametrize("change", [other_split, other_catalogue])
@pytest.mark.parametrize("refit", [False, True])
def test_a_model_of_other_data_is_refused(shop, change, refit):
    train.main(PARAMS.with_values({"recommend.refit": refit}), "blocks", 0, "ease")
    cache("ease", "blocks", 5)
    assert recommend("ease", "blocks", user="u3", k=3)
    prepare_again(shop, change)
    for use in (
        lambda: recommend("ease", "blocks", user="u3", k=3),
        lambda: cache("ease", "blocks", 5),
        lambda: Answers.open("ease", "blocks"),
        lambda: shop.export("ease"),
    ):
        with pytest.raises(ValueError, match=MODEL) as said:
            use()
        assert "\n" not in str(said.value)
    assert not shop.world.cell.bundle("ease").exists()
    train.main(PARAMS.with_values({"recommend.refit": refit}), "blocks", 0, "ease")
    assert recommend("ease", "blocks", user="u3", k=3)


def test_a_model_that_does_not_say_its_data_is_refused(shop):
    train.main(PARAMS, "blocks", 0, "ease")
    (shop.world.cell.model("ease") / NOTE).unlink()
    with pytest.raises(ValueError, match=MODEL):
        recommend("ease", "blocks", user="u3", k=3)


def test_a_store_of_other_data_does_not_fit_a_model_with_equal_weights(shop, capsys):
    """Training pairs are equal here, and the store leaves out what was of validation."""
    folder = shop.world.cell.model("popularity")
    weights = set()
    for change, way in ((None, "store"), (other_split, "live")):
        if change:
            prepare_again(shop, change)
        train.main(PARAMS, "blocks", 0, "popularity")
        weights.add((folder / "model.safetensors").read_bytes())
        if change is None:
            cache("popularity", "blocks", 5)
        assert recommend("popularity", "blocks", user="u3", k=3)[0]["way"] == way
    assert len(weights) == 1
    assert "was made from another model" in capsys.readouterr().err


def test_titles_and_the_format_of_the_files_do_not_count(shop):
    train.main(PARAMS, "blocks", 0, "ease")
    path = shop.world.cell.prepare / "items.parquet"
    pl.read_parquet(path).with_columns(title=pl.lit("new")).write_parquet(path, compression="lz4")
    assert recommend("ease", "blocks", user="u3", k=1)[0]["title"] == "new"


def test_metrics_of_another_split_are_not_exported(shop):
    shop.train("ease")
    folder = shop.world.cell.evaluated("ease")
    write_json(folder / "metrics.json", {"ndcg@20": 0.25})
    match = r"evaluate/blocks/0/ease: was not made .* `dvc repro evaluate@blocks-0-ease`"
    for summary in (None, {"prepared": "0" * 64}):
        if summary:
            write_json(folder / "summary.json", summary)
        with pytest.raises(ValueError, match=match):
            shop.export("ease")
    write_json(folder / "summary.json", {"prepared": shop.world.prepared.digest})
    assert shop.export("ease").is_dir()


def test_stages_refuse_models_and_lists_of_other_data(shop):
    """The engines run them in order; by hand they can be run in any."""
    train.main(PARAMS, "blocks", 0, "ease")
    recommend_stage.main(PARAMS, "blocks", 0, "ease")
    prepare_again(shop)
    with pytest.raises(ValueError, match=MODEL):
        recommend_stage.main(PARAMS, "blocks", 0, "ease")
    with pytest.raises(ValueError, match=r"recommend/ease: was not made from the prepared data"):
        evaluate.main(PARAMS, "blocks", 0, "ease")


def test_shards_of_different_data_are_not_joined(shop):
    cell = shop.world.cell
    for part in range(2):
        train.main(PARAMS, "blocks", 0, "ease")
        recommend_stage.main(PARAMS, "blocks", 0, "ease", part, 2)
        if part == 0:
            recommend_join_match = cell.shard("recommend", Shard(0, 2), "ease").parent
            prepare_again(shop)
    with pytest.raises(ValueError, match=rf"{recommend_join_match}: has parts of different"):
        recommend_join.main(PARAMS, "blocks", 0, "ease", 2)
    recommend_stage.main(PARAMS, "blocks", 0, "ease", 0, 2)
    recommend_join.main(PARAMS, "blocks", 0, "ease", 2)
    joined = (cell.lists("ease") / NOTE).read_bytes()
    assert joined == (cell.model("ease") / NOTE).read_bytes()
