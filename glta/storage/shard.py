"""Shards: the work of a stage, divided into parts that several machines can do at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Piece = TypeVar("Piece")


@dataclass(frozen=True)
class Shard:
    """Name one of several shards of a stage's work. part: from 0. of: how many there are.

    The work is a sequence of pieces: batches of texts or prompts, blocks of users. Which pieces
    there are does not depend on the number of shards. So the shards together compute what one
    process computes, with the same batches, and therefore to the last bit.
    Raises ValueError unless 0 <= part < of.
    """

    part: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.part < self.of:
            raise ValueError(
                f"shard {self.part} of {self.of}: the first is 0, the last is {self.of - 1}"
            )

    def pick(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield the pieces of this shard. They are dealt out one by one.

        So shards have equal numbers of pieces, and similar ones: batches are often sorted by
        length, and the neighbours of a long one are long too.
        """
        return (piece for i, piece in enumerate(pieces) if i % self.of == self.part)


WHOLE = Shard()
"""All of the work."""
