"""The stage `profile`, with a stand-in for the language model."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from glta.features.make_profiles import TextStates, in_order
from glta.features.settings import ProfileSettings
from glta.features.text.cache import KnownAnswers, digest
from glta.params.model import Params
from glta.storage.arrays import load_arrays
from glta.testing.blocks import LONER, NUM_ITEMS, NUM_USERS
from pipeline.stages import profile, profile_join


class StandIn:
    name = "stand-in"
    sha256 = "0" * 64
    digests: ClassVar = {"a.safetensors": "1" * 64}
    width = 4
    precision = "float32"
    device = SimpleNamespace(type="cpu")
    batch_tokens = 8192

    def encode_shard(self, texts, shard):
        rows = np.array(list(shard.pick(range(len(texts)))), np.int64)
        own = [texts[row] for row in rows]
        states = [[len(text), text.count("o"), text.count("a"), 1] for text in own]
        return rows, np.array(states, np.float32).reshape(-1, 4)


@pytest.fixture
def stage(world, monkeypatch, tmp_path):
    language = pytest.importorskip("glta.nn.language.frozen")
    monkeypatch.setattr(language, "load_language", lambda params: StandIn())
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    monkeypatch.chdir(tmp_path)

    def run(params: Params, shards: int = 1):
        for part in range(shards):
            profile.main(params, "blocks", 0, part, shards)
        if shards > 1:
            profile_join.main(params, "blocks", 0, shards)
        return world.data / "blocks" / "0" / "profile"

    return run


def test_writes_the_contract(stage):
    out = stage(Params())
    items, users = (pl.read_parquet(out / f"{name}.parquet") for name in ("items", "users"))
    assert dict(items.schema) == {"item": pl.Int32, "text": pl.String}
    words = ("tags", "interests", "graph_tags", "graph_interests")
    assert dict(users.schema) == {"user": pl.Int32} | dict.fromkeys(words, pl.String)
    assert items["item"].to_list() == list(range(NUM_ITEMS))
    assert users["user"].to_list() == list(range(NUM_USERS))
    assert "garden" in users["tags"][0].split(", ")
    assert users["tags"][LONER] == ""
    states = load_arrays(out / "states.safetensors")[0]
    assert {name: array.shape for name, array in states.items()} == {
        "item": (NUM_ITEMS, 4),
        "user": (NUM_USERS, 4),
    }
    assert states["user"][0, 0] == len(
        f"{users['tags'][0]}, {users['interests'][0]}"
    )  # what the stand-in counts
    assert states["user"][LONER, 0] == 0
    about = json.loads((out / "profile.json").read_text())
    assert about["provider"] == {"provider": "extractive"}
    assert about["language"] == {
        "model": "stand-in",
        "sha256": "0" * 64,
        "files": StandIn.digests,
        "width": 4,
    }
    assert about["counts"]["without_tags"] == 1


def test_equal_inputs_give_equal_bytes(stage):
    first, second = (
        {path.name: path.read_bytes() for path in stage(Params()).iterdir()} for _ in range(2)
    )
    assert first == second


class Counting:
    """Answer with the number of letters, and of prompts that were asked together with a prompt."""

    batch = 7
    asked = 0
    identity: ClassVar = {"provider": "counting"}

    def write(self, prompts):
        Counting.asked += len(prompts)
        return [f"one, two of {len(prompts)}, {len(prompt)} letters" for prompt in prompts]


@pytest.fixture
def generating(monkeypatch):
    monkeypatch.setattr("glta.features.make_profiles.make_provider", lambda params: Counting())
    monkeypatch.setattr(Counting, "asked", 0)
    return Params(profile=ProfileSettings(num_tags=3, num_interests=3))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_generating_provider_is_asked_once(stage, generating):
    users = [(stage(generating) / "users.parquet").read_bytes() for _ in range(2)]
    assert users[0] == users[1]
    # Of the 23 users with items, three share theirs, and so their prompts, with another. Each has
    # prompts for tags and interests, from all training items and from those of the graph alone.
    assert Counting.asked == 2 * 2 * 20


@pytest.mark.parametrize("shards", [2, 3, 50])
def test_shards_write_the_same_bytes(stage, shards):
    assert contents(stage(Params(), shards)) == contents(stage(Params()))


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_ask_in_the_batches_of_a_whole_run(stage, generating, tmp_path, shards):
    """An answer may depend on what else is in its batch."""
    whole = contents(stage(generating))
    shutil.rmtree(tmp_path / ".cache")
    asked = Counting.asked
    assert contents(stage(generating, shards)) == whole
    assert Counting.asked == 2 * asked


def test_a_missing_shard_is_named(stage):
    folder = stage(Params(), 3)
    shutil.rmtree(folder.parent / "shards" / "profile-of-3" / "1")
    with pytest.raises(FileNotFoundError, match="profile-of-3/1"):
        profile_join.main(Params(), "blocks", 0, 3)


@pytest.mark.parametrize("rows", [[0, 2], [0, 1, 1, 2], [0, 0, 1], [0, 1, 2, 3]])
def test_shards_that_miss_a_text_are_not_joined(rows):
    """Shards that were made with other batches have other texts."""
    one = TextStates(np.array(rows), np.ones((len(rows), 4), np.float32))
    with pytest.raises(ValueError, match="of 3 texts are in no shard, or in several"):
        in_order([one], 3)


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("sha256", "2" * 64, "language"),
        ("precision", "bfloat16", "precision"),
        ("device", SimpleNamespace(type="cuda"), "device"),
        ("batch_tokens", 64, "batch_tokens"),
    ],
)
def test_shards_of_different_models_or_processors_are_not_joined(
    stage, monkeypatch, name, value, key
):
    stage(Params(), 2)
    monkeypatch.setattr(StandIn, name, value)
    profile.main(Params(), "blocks", 0, 1, 2)
    again = "`dvc repro --force --single-item profile-part@blocks-0-2-0 profile-part@blocks-0-2-1`"
    with pytest.raises(ValueError, match=f"another {key}: .*; make all shards again: {again}"):
        profile_join.main(Params(), "blocks", 0, 2)


def test_shards_of_different_providers_are_not_joined(stage, generating, monkeypatch):
    stage(generating, 2)
    monkeypatch.setattr(Counting, "identity", {"provider": "counting", "precision": "bfloat16"})
    with pytest.raises(ValueError, match="another provider"):
        profile_join.main(generating, "blocks", 0, 2)


def test_a_prompt_without_an_answer_is_no_empty_answer():
    answers = KnownAnswers(Counting(), {digest("known"): "yes"})
    assert answers.write(["known"]) == ["yes"]
    with pytest.raises(ValueError, match="1 of 2 prompts about users have no answer"):
        answers.write(["known", "unknown"])
