"""Shards divide work without gaps, and evenly."""

import pytest

from glta.storage.shard import WHOLE, Shard


@pytest.mark.parametrize("of", [1, 2, 3, 7, 12])
def test_shards_have_every_piece_once(of):
    parts = [list(Shard(part, of).pick("abcdefghij")) for part in range(of)]
    assert sorted(piece for part in parts for piece in part) == list("abcdefghij")
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(part == sorted(part) for part in parts)


def test_the_whole_has_all_pieces_in_order():
    assert list(WHOLE.pick(range(5))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("part", "of"), [(2, 2), (-1, 3), (0, 0)])
def test_an_impossible_shard_is_refused(part, of):
    with pytest.raises(ValueError, match=f"shard {part} of {of}"):
        Shard(part, of)
