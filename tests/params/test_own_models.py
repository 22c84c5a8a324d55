"""Language models in folders of the user's: stated by a checksum, and refused when they change."""

import json
import shutil
from pathlib import Path

import pytest

from glta.nn.language.model_files import ModelFiles
from glta.params.check import whole_overrides
from glta.params.model import Params
from glta.params.own_models import (
    refuse_other_models,
    refuse_other_models_of_all,
    with_model_checksums,
)


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch) -> None:
    """Write two folders with a few files, as a language model has them."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        Path(name).mkdir()
        for file in ("model.safetensors", "config.json", "tokenizer.json"):
            Path(name, file).write_text(json.dumps([name, file]))


def params(own: dict | None = None, **sections) -> Params:
    """Return parameters. own: overrides of the dataset sample."""
    return Params(overrides={"sample": whole_overrides(own or {})}, **sections)


def sha256(name: str) -> str:
    return ModelFiles.of(Path(name)).sha256


def test_checksums_of_all_models_are_added():
    found = with_model_checksums(
        params(language={"model": "one"}, profile={"generator": "./two"}, causal={"model": "two"}),
    )
    assert found.causal.sha256 == sha256("two")
    assert found.language.sha256 == sha256("one") != sha256("two")
    assert found.profile.generator_sha256 == sha256("two")
    assert with_model_checksums(found) == found


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_change_of_any_file_changes_the_checksum(file):
    stated = with_model_checksums(params(language={"model": "one"}))
    refuse_other_models(stated)
    old = Path("one", file)
    new = Path("new")
    new.write_text(old.read_text().replace("one", "uno"))
    shutil.copystat(old, new)  # as `rsync -a` and `cp -p` do
    new.replace(old)
    with pytest.raises(ValueError, match=r"language\.model = one: .*`glta params sync`"):
        refuse_other_models(stated)
    assert with_model_checksums(stated).language.sha256 != stated.language.sha256
    refuse_other_models(with_model_checksums(stated))


def test_a_folder_without_checksum_is_refused():
    with pytest.raises(ValueError, match=r"language\.model = one: has no checksum"):
        refuse_other_models(params(language={"model": "one"}))
    generator = {"provider": "language_model", "generator": "two"}
    with pytest.raises(ValueError, match=r"profile\.generator = two: has no checksum"):
        refuse_other_models(params(profile=generator))
    refuse_other_models(params(profile=generator | {"provider": "extractive"}))


def test_only_models_that_are_used_are_looked_at():
    given = params(language={"model": "one"})
    refuse_other_models_of_all(given.model_copy(update={"methods": ["ease"]}))
    with pytest.raises(ValueError, match="has no checksum"):
        refuse_other_models_of_all(given)


def test_other_models_keep_the_checksum_that_the_user_has_set():
    pinned = "a" * 64
    hub = params(language={"model": "owner/name", "sha256": pinned})
    assert with_model_checksums(hub) == hub
    elsewhere = params(language={"model": "/not/here", "sha256": pinned})
    assert with_model_checksums(elsewhere) == elsewhere


def test_the_packaged_model_does_not_keep_the_checksum_of_a_folder():
    found = with_model_checksums(params(language={"sha256": "a" * 64}))
    assert found.language.sha256 is None


@pytest.mark.parametrize(
    ("model", "expected"),
    [("two", "two"), ("one", "one"), ("all-MiniLM-L6-v2", None), ("owner/name", None)],
)
def test_a_model_of_one_dataset_has_its_own_checksum(model, expected):
    given = params({"language": {"model": model}}, language={"model": "one"})
    found = with_model_checksums(given).for_dataset("sample")
    assert found.language.sha256 == (expected and sha256(expected))
    refuse_other_models(found)


def test_a_causal_model_that_changed_is_refused():
    methods = ["popularity", "semantic-convergence"]
    stated = with_model_checksums(params(causal={"model": "one"}, methods=methods))
    refuse_other_models(stated)
    Path("one", "config.json").write_text("{}")
    # no other method reads it
    refuse_other_models(stated.model_copy(update={"methods": ["popularity", "glta"]}))
    with pytest.raises(ValueError, match=r"causal\.model = one: .*`glta params sync`"):
        refuse_other_models(stated)
    assert with_model_checksums(params(causal={"sha256": "a" * 64})).causal.sha256 is None


def test_a_pinned_hub_model_of_one_dataset_stays():
    own = {"language": {"model": "owner/name", "sha256": "a" * 64}}
    given = params(own, language={"model": "one"})
    assert with_model_checksums(given).overrides == given.overrides


def test_overrides_of_other_keys_stay():
    given = params({"language": {"precision": "float32"}}, language={"model": "one"})
    assert with_model_checksums(given).overrides == given.overrides
