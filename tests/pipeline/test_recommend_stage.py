"""Which items of the users the lists of the stage `recommend` are made by."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest

from glta.data.interactions import Interactions
from glta.data.sequences import Sequences
from glta.evaluation.lists import Lists
from glta.evaluation.settings import RecommendSettings
from glta.methods.base import Recommender, Scorer
from glta.storage.shard import Shard
from glta.testing.blocks import LONER, NUM_ITEMS
from pipeline.stages import recommend
from pipeline.stages.recommend import make_lists, uses_seen_items


@dataclass(frozen=True)
class Newest(Scorer):
    """Score the items by their ids, counted from the user's newest item."""

    histories: Sequences

    def score(self, users):
        newest = self.histories.last(1, users=users, padding=0).item
        return -((np.arange(NUM_ITEMS) - newest) % NUM_ITEMS).astype(np.float32)

    def with_histories(self, histories) -> Recommender:
        return Newest(histories)

    def save(self, folder):
        raise NotImplementedError

    @classmethod
    def load(cls, folder):
        raise NotImplementedError


def first_after(sequences: Sequences, known, user: int) -> int:
    """Return the first item after the newest one that is not known."""
    newest = sequences.of_user(user).item[-1]
    circle = (newest + np.arange(NUM_ITEMS)) % NUM_ITEMS
    return int(next(item for item in circle if item not in known.items_of(user)))


def best(lists: pl.DataFrame) -> dict[int, int]:
    top = lists.group_by("user", maintain_order=True).first()
    return dict(zip(top["user"], top["item"], strict=True))


@pytest.mark.parametrize("seen_at_test", [True, False])
def test_validation_items_count_for_test_lists_alone(prepared, seen_at_test):
    lists = make_lists(Newest(prepared.sequences), prepared, k=5, seen_at_test=seen_at_test)
    at_test = prepared.seen_sequences if seen_at_test else prepared.sequences
    valid, test = best(lists.valid), best(lists.test)
    for user in range(LONER):
        assert valid[user] == first_after(prepared.sequences, prepared.train, user)
        assert test[user] == first_after(at_test, prepared.seen, user)
    other = make_lists(Newest(prepared.sequences), prepared, k=5, seen_at_test=False)
    assert lists.valid.equals(other.valid)
    assert lists.test.equals(other.test) == (not seen_at_test)


def test_validation_items_are_history_in_a_split_by_time():
    splits = ("random", "given", "leave_last_out", "global_time")

    def of(test_history: str) -> list[bool]:
        settings = RecommendSettings(test_history=test_history)
        return [uses_seen_items(settings, split) for split in splits]

    assert of("by_split") == [False, False, True, True]
    assert of("seen") == [True] * 4
    assert of("train") == [False] * 4


def test_items_with_validation_users_are_not_new_to_a_refit(prepared):
    """One item has training users and test users in the original; here they are of validation."""
    item = int(prepared.test.item[0])
    train, valid = (getattr(prepared, name) for name in ("train", "valid"))
    moved = train.item == item
    pairs = {
        "train": (train.user[~moved], train.item[~moved]),
        "valid": (
            np.append(valid.user, train.user[moved]),
            np.append(valid.item, train.item[moved]),
        ),
    }
    size = train.num_users, train.num_items
    parts = {name: Interactions.of(*of, *size) for name, of in pairs.items()}
    data = replace(prepared, **parts)
    assert data.seen.item_degree[item] and not data.train.item_degree[item]
    model = Newest(prepared.sequences)
    first = make_lists(model, data, k=5, seen_at_test=False)
    second = make_lists(model, data, k=5, seen_at_test=False, refitted=model)
    assert first.new is not None and item in first.new["item"]
    assert second.new is None


@pytest.mark.parametrize("block", [2, 5, 2048])
@pytest.mark.parametrize("shards", [2, 3])
def test_shards_make_the_lists_of_a_whole_run(prepared, monkeypatch, tmp_path, block, shards):
    monkeypatch.setattr(recommend, "BLOCK", block)
    whole = make_lists(Newest(prepared.sequences), prepared, k=5, seen_at_test=True)
    parts = []
    for part in range(shards):
        shard = Shard(part, shards)
        lists = make_lists(
            Newest(prepared.sequences), prepared, k=5, seen_at_test=True, shard=shard
        )
        (folder := tmp_path / str(part)).mkdir()
        lists.save(folder)
        parts.append(Lists.load(folder))
    for name, lists in (("whole", whole), ("joined", Lists.joined(parts))):
        (tmp_path / name).mkdir()
        lists.save(tmp_path / name)
    files = [path.name for path in (tmp_path / "whole").iterdir()]
    assert sorted(files) == ["test.parquet", "valid.parquet"]
    for name in files:
        of_whole, of_joined = ((tmp_path / each / name) for each in ("whole", "joined"))
        assert of_whole.read_bytes() == of_joined.read_bytes()
    if block == 2:
        assert all(part.test.height < whole.test.height for part in parts)


def test_a_recommender_is_asked_for_the_same_blocks_by_shards(prepared, monkeypatch):
    """Its scores may depend on who else is in a block."""
    monkeypatch.setattr(recommend, "BLOCK", 4)
    asked = []

    class Noting(Newest):
        def recommend(self, users, k, exclude):
            asked.append(tuple(users))
            return super().recommend(users, k, exclude)

    def blocks(*shards: Shard) -> set[tuple[int, ...]]:
        asked.clear()
        for shard in shards:
            make_lists(Noting(prepared.sequences), prepared, k=5, seen_at_test=False, shard=shard)
        return {*asked}

    assert blocks(Shard(0, 3), Shard(1, 3), Shard(2, 3)) == blocks(Shard())
    assert len(asked) > 6
