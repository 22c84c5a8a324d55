"""A bundle in MLflow: it is loaded as a pyfunc model, and registered once, with an alias."""

from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from glta.serving.bundle import load
from pipeline.tracking import registered_bundles, store
from pipeline.tracking.registered_bundles import options_of, register_bundle
from tests.serving.bundles import Shop


@pytest.fixture
def shop(world, tmp_path, monkeypatch) -> Shop:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    return Shop.open(world, tmp_path)


@pytest.fixture
def folder(shop) -> Path:
    shop.store("ease", shop.train("ease"))
    return shop.export("ease")


def test_mlflow_loads_it_without_a_pickle_and_it_answers(folder, tmp_path):
    bundle = load(folder)
    saved = tmp_path / "saved"
    mlflow.pyfunc.save_model(str(saved), **options_of(bundle))
    kinds = {path.suffix for path in saved.rglob("*") if path.is_file()}
    assert kinds <= {"", ".json", ".yaml", ".txt", ".md", ".parquet", ".safetensors"}
    model = mlflow.pyfunc.load_model(str(saved))
    asked = pd.DataFrame({"user_id": ["u3", None, "who"], "items": [None, ["i4", "i0"], []]})
    found = model.predict(asked, params={"k": 3})
    expected = [
        bundle.recommend("u3", k=3),
        bundle.recommend(None, ["i4", "i0"], k=3),
        bundle.recommend(None, k=3),
    ]
    assert found["way"].to_list() == ["store", "live", "popularity"]
    assert found["items"].to_list() == [one.items for one in expected]
    assert found["scores"].to_list() == [one.scores for one in expected]
    # either column may be missing, and k
    alone = model.predict(pd.DataFrame({"items": [["i4", "i0"]]}))
    assert alone["items"].to_list() == [bundle.recommend(None, ["i4", "i0"], k=10).items]
    assert model.predict(pd.DataFrame({"user_id": ["u3"]})).loc[0, "way"] == "live"
    with pytest.raises(MlflowException, match="user_id"):
        model.predict(pd.DataFrame({"user_id": [17]}))
    with pytest.raises(ValueError, match="item i99: unknown id"):
        model.predict(pd.DataFrame({"items": [["i99"]]}))
    with pytest.raises(ValueError, match="neither a column user_id nor a column items"):
        model.predict(pd.DataFrame({"user": ["u3"]}))


@pytest.mark.slow
@pytest.mark.engines
def test_a_bundle_is_registered_once_and_the_alias_is_that_of_validation(
    shop, folder, tmp_path, monkeypatch, request
):
    # MLflow sets the variable, which monkeypatch takes back
    monkeypatch.setenv(store.VARIABLE, "")
    request.addfinalizer(lambda: mlflow.set_tracking_uri(""))
    monkeypatch.setattr(store, "HOME", tmp_path)
    monkeypatch.setattr(store, "DATABASE", tmp_path / "mlflow.db")
    monkeypatch.setattr("pipeline.tracking.records.HOME", tmp_path)
    client = store.open_client()
    # the stages record `best`: the method with the highest value on validation
    client.create_registered_model("blocks")
    for method in ("popularity", "ease"):
        client.create_model_version("blocks", f"file:///{method}", tags={"method": method})
    client.set_registered_model_alias("blocks", registered_bundles.BEST, "2")

    assert register_bundle(folder) == ("blocks-bundle", "1")
    assert register_bundle(folder) == ("blocks-bundle", "1")
    version = client.get_model_version_by_alias("blocks-bundle", registered_bundles.BEST)
    assert version.tags["bundle.digest"] == load(folder).about.digest
    assert version.tags["dvc.path"].endswith("blocks/0/models/ease")
    model = mlflow.pyfunc.load_model("models:/blocks-bundle@best")
    found = model.predict(pd.DataFrame({"user_id": ["u3"]}), params={"k": 3})
    assert found["items"].to_list() == [load(folder).recommend("u3", k=3).items]

    shop.train("popularity")
    other = shop.export("popularity")
    assert register_bundle(other) == ("blocks-bundle", "2")
    assert client.get_model_version_by_alias("blocks-bundle", "best").version == version.version
    assert register_bundle(other, "champion") == ("blocks-bundle", "2")
    champion = client.get_model_version_by_alias("blocks-bundle", "champion")
    assert champion.tags["method"] == "popularity"
