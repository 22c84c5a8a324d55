"""Draw the examples of GAL-Rec: observed pairs with the neighbours of user and item."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.methods.gal_rec.neighbours import Neighbours, NeighbourSampler
from glta.methods.gal_rec.spec import GALRecSettings
from glta.methods.gal_rec.view_prompts import Side
from glta.training.seeds import Stream, epoch_rng

# numbers of steps that training never reaches: they seed the neighbours of serving and start
SERVING = 2**31 - 1
START = 2**31 - 3
SHUFFLING = 2**31 - 4


class ViewExample(NamedTuple):
    """Hold an observed pair that is no edge of the graph, with the neighbours of both nodes."""

    user: int
    item: int
    of_user: Neighbours
    of_item: Neighbours

    def about(self, side: Side) -> tuple[int, Neighbours]:
        """Return the node of one side, and its neighbours."""
        return (self.user, self.of_user) if side == Side.USERS else (self.item, self.of_item)


class StepBatch(NamedTuple):
    """Hold the examples of one step. step: counted from 0."""

    step: int
    examples: list[ViewExample]


@dataclass(frozen=True)
class Examples:
    """Draw the examples of a training.

    A step sees the next users of a random order of all users with targets, each with one target.
    The neighbours are drawn from the edges of the graph, which no target is among.
    """

    prepared: Prepared
    settings: GALRecSettings
    seed: int

    @cached_property
    def users(self) -> np.ndarray:
        """The users with targets. Raises ValueError when there is none."""
        found = np.flatnonzero(self.prepared.target.user_degree)
        if not found.size:
            raise ValueError(
                "no user has a training item to serve as target: raise prepare.target_share or "
                "prepare.user_core"
            )
        return found

    @cached_property
    def samplers(self) -> tuple[NeighbourSampler, NeighbourSampler]:
        """Draw neighbours for training, of users and of items."""
        return samplers(self.prepared.graph, self.settings)

    def at(self, step: int, size: int | None = None) -> list[ViewExample]:
        """Draw the examples of a step. They depend on the seed and the step alone."""
        size = size or self.settings.batch_size
        users = self._users_at(step * self.settings.batch_size, size)
        # each has a generator of its own: what one draws does not move the others
        of_target, of_users, of_items = epoch_rng(self.seed, step, Stream.NEIGHBOURS).spawn(3)
        target = self.prepared.target
        first = target.indptr[users]
        chosen = (of_target.random(users.size) * target.user_degree[users]).astype(np.int64)
        items = target.item[first + chosen]
        by_user, by_item = self.samplers
        near_users = by_user.draw(
            users, of_users, partners=items, source=self._source(Side.USERS, users)
        )
        near_items = by_item.draw(
            items, of_items, partners=users, source=self._source(Side.ITEMS, items)
        )
        return [
            ViewExample(int(u), int(i), of_user, of_item)
            for u, i, of_user, of_item in zip(users, items, near_users, near_items, strict=True)
        ]

    def served(self, side: Side) -> list[Neighbours]:
        """Draw the neighbours of all users or items once, from all training edges."""
        train = self.prepared.train
        count = train.num_users if side == Side.USERS else train.num_items
        everyone = np.arange(count)
        rng = epoch_rng(self.seed, SERVING - side, Stream.NEIGHBOURS)
        sampler = samplers(train, self.settings)[side]
        return sampler.draw(everyone, rng, source=self._source(side, everyone))

    def _users_at(self, begin: int, size: int) -> np.ndarray:
        """Return the users at some places of the endless random order."""
        places = np.arange(begin, begin + size)
        rounds = places // self.users.size
        found = np.empty(size, np.int64)
        for turn in np.unique(rounds):
            order = epoch_rng(self.seed, int(turn), Stream.USER_PROMPTS).permutation(self.users)
            here = rounds == turn
            found[here] = order[places[here] % self.users.size]
        return found

    def _source(self, side: Side, ids: np.ndarray) -> np.ndarray | None:
        """Return whose neighbours are drawn; None: the node's own."""
        if not self.settings.shuffled:
            return None
        train = self.prepared.train
        count = train.num_users if side == Side.USERS else train.num_items
        return epoch_rng(self.seed, SHUFFLING - side, Stream.NEIGHBOURS).permutation(count)[ids]


def samplers(
    graph: Interactions, settings: GALRecSettings
) -> tuple[NeighbourSampler, NeighbourSampler]:
    """Draw neighbours of users and of items from the edges of a graph."""
    counts = settings.first_neighbours, settings.second_neighbours
    return NeighbourSampler.of_users(graph, *counts), NeighbourSampler.of_items(graph, *counts)
