"""Draw training triples (user, positive, negative) for one epoch at a time."""

# U users, I items, E training interactions, S samples of an epoch
from __future__ import annotations

import numpy as np

from glta.data.interactions import Interactions


def sample_epoch(
    graph: Interactions, rng: np.random.Generator, by: str = "user"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the triples of one epoch. A negative is any item that its user does not have.

    by: "user" draws a user E times, then one of the user's items (LightGCN's reference code).
        "edge" takes every interaction once, in random order (RecBole, SSLRec, RLMRec).
    Returns user, positive, negative, each (S,) int64. Users without items, or with every item, are
    left out. For "user" S is E; for "edge" it is the number of interactions of the other users.
    Raises ValueError when no user is left.
    """
    degree = graph.user_degree
    usable = usable_users(graph)
    if by == "user":
        user = rng.choice(np.flatnonzero(usable), size=len(graph))
        positive = graph.item[graph.indptr[user] + rng.integers(0, degree[user])]
    elif by == "edge":
        edge = rng.permutation(len(graph))
        edge = edge[usable[graph.user[edge]]]
        user = graph.user[edge]
        positive = graph.item[edge]
    else:
        raise ValueError(f'sampling must be "user" or "edge", not {by!r}')
    return user, positive, sample_negatives(graph, user, rng)


def epoch_size(graph: Interactions, by: str = "user") -> int:
    """Return how many triples `sample_epoch` draws."""
    usable = usable_users(graph)
    return int(graph.user_degree[usable].sum()) if by == "edge" else len(graph)


def usable_users(graph: Interactions) -> np.ndarray:
    """Tell for each user, (U,), whether they have an item, and lack one.

    Raises ValueError when no user does.
    """
    degree = graph.user_degree
    usable = (degree > 0) & (degree < graph.num_items)
    if not usable.any():
        raise ValueError(
            "every user has no item or all items, so there is nothing to train on; prepare more "
            "interactions, for example with lower prepare.user_core and prepare.item_core"
        )
    return usable


def sample_negatives(graph: Interactions, user: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw for each entry of user (S,) one item that the user does not have: (S,) int64.

    All such items are equally likely.
    """
    negative = rng.integers(0, graph.num_items, size=user.size)
    # items that a user has are drawn again until none is left: few, as most users have few items
    clash = np.flatnonzero(graph.contains(user, negative))
    while clash.size:
        negative[clash] = rng.integers(0, graph.num_items, size=clash.size)
        clash = clash[graph.contains(user[clash], negative[clash])]
    return negative
