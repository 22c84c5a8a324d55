"""Draw neighbours of users and items: direct ones, and those over a shared node."""

# N nodes, U users, I items
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions

Ids = np.ndarray

WALKS = 2
"""Walks for each neighbour over a shared node, as walks may return or meet."""


class Neighbours(NamedTuple):
    """Hold the drawn neighbours of one node.

    first: direct neighbours, of the other kind. second: nodes of its own kind that share one with
    it. Both without repeats.
    """

    first: Ids
    second: Ids


@dataclass(frozen=True)
class NeighbourSampler:
    """Draw neighbours on one side of the graph.

    forth: (N, M) 0/1, the graph from a node of this side to the other side. back: its transpose.
    first, second: how many neighbours at most.
    """

    forth: csr_array
    back: csr_array
    first: int
    second: int

    @classmethod
    def of_users(cls, graph: Interactions, first: int, second: int) -> Self:
        """Draw neighbours of users: their items, and users with the same items."""
        items = history_matrix(graph)
        return cls(items, items.T.tocsr(), first, second)

    @classmethod
    def of_items(cls, graph: Interactions, first: int, second: int) -> Self:
        """Draw neighbours of items: their users, and items of the same users."""
        items = history_matrix(graph)
        return cls(items.T.tocsr(), items, first, second)

    def draw(
        self,
        nodes: Ids,
        rng: np.random.Generator,
        *,
        partners: Ids | None = None,
        histories: csr_array | None = None,
        source: Ids | None = None,
    ) -> list[Neighbours]:
        """Draw the neighbours of nodes (N,), for each independently.

        A node over a shared one is reached by a walk: to a random neighbour, and from there to a
        random one of its neighbours. Nodes with many common neighbours are thus more likely.
        partners: (N,), the node that each should predict. It is never among the direct neighbours,
            and no walk goes through it.
        histories: 0/1, takes the place of `forth` where the nodes are new users.
        source: (N,), nodes whose neighbours are drawn in place of each node's own.
        """
        forth = self.forth if histories is None else histories
        own = nodes if source is None else source
        start, end = forth.indptr[own], forth.indptr[own + 1]
        walks = WALKS * self.second
        chance = rng.random((len(nodes), walks, 2))
        reached = self._walk(forth, self.back, start, end, chance, partners)
        found = []
        for place, node in enumerate(nodes):
            direct = forth.indices[start[place] : end[place]]
            if partners is not None:
                direct = direct[direct != partners[place]]
            first = rng.permutation(direct)[: self.first]
            second = reached[place][(reached[place] >= 0)]
            if histories is None:
                second = second[(second != node) & (second != own[place])]
            _, at = np.unique(second, return_index=True)
            found.append(Neighbours(first, second[np.sort(at)][: self.second]))
        return found

    def _walk(
        self,
        forth: csr_array,
        back: csr_array,
        start: Ids,
        end: Ids,
        chance: np.ndarray,
        partners: Ids | None,
    ) -> Ids:
        """Walk two steps from each node: (N, walks), -1 where a walk ends early."""
        degree = (end - start)[:, None]
        if not forth.indices.size or not chance.size:
            return np.full(chance.shape[:2], -1)
        at = np.minimum(
            start[:, None] + (chance[:, :, 0] * degree).astype(np.int64), forth.indices.size - 1
        )
        middle = forth.indices[at]
        going = np.broadcast_to(degree > 0, middle.shape)
        if partners is not None:
            going = going & (middle != partners[:, None])
        begin = back.indptr[middle]
        width = back.indptr[middle + 1] - begin
        going = going & (width > 0)
        at = np.where(going, begin + (chance[:, :, 1] * width).astype(np.int64), 0)
        return np.where(going, back.indices[at], -1).astype(np.int64)
