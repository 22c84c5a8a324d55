"""The stage `profile`, with a stand-in for the language model."""

import json
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from glta.features.settings import ProfileSettings
from glta.params.model import Params
from glta.storage.arrays import load_arrays
from glta.testing.blocks import LONER, NUM_ITEMS, NUM_USERS
from pipeline.stages import profile


class StandIn:
    name = "stand-in"
    sha256 = "0" * 64
    digests: ClassVar = {"a.safetensors": "1" * 64}
    width = 4

    def encode(self, texts, batch_tokens):
        return np.array(
            [[len(text), text.count("o"), text.count("a"), 1] for text in texts], np.float32
        )


@pytest.fixture
def stage(world, monkeypatch, tmp_path):
    language = pytest.importorskip("glta.nn.language.frozen")
    monkeypatch.setattr(language, "load_language", lambda params: StandIn())
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    monkeypatch.chdir(tmp_path)

    def run(params: Params):
        profile.main(params, "blocks", 0)
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


def test_generating_provider_is_asked_once(stage, monkeypatch):
    class Counting:
        batch = 7
        asked = 0

        def __init__(self):
            self.identity = {"provider": "counting"}

        def write(self, prompts):
            Counting.asked += len(prompts)
            return [f"one, two, {len(prompt)} letters" for prompt in prompts]

    monkeypatch.setattr(profile, "make_provider", lambda params: Counting())
    params = Params(profile=ProfileSettings(num_tags=3, num_interests=3))
    users = [(stage(params) / "users.parquet").read_bytes() for _ in range(2)]
    assert users[0] == users[1]
    # Of the 23 users with items, three share theirs, and so their prompts, with another. Each has
    # prompts for tags and interests, from all training items and from those of the graph alone.
    assert Counting.asked == 2 * 2 * 20
