"""Training triples (user, positive, negative), one epoch at a time, without a Python loop."""

# U users, I items, E training interactions, S samples of an epoch
from __future__ import annotations

import numpy as np

from glta.data.interactions import Interactions


def sample_epoch(
    graph: Interactions, rng: np.random.Generator, by: str = "user"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw E triples; a negative is uniform over the items that its user has not interacted with.

    by: "user" draws users uniformly and then one of their items (LightGCN's reference code);
        "edge" walks over all interactions in random order (RecBole, SSLRec, RLMRec).
    Returns user, positive, negative, each (S,) int64. Users without an item, or with every item,
    are left out (S < E only then, and only for "edge"). Raises ValueError when no user is left.
    """
    degree = graph.user_degree
    usable = (degree > 0) & (degree < graph.num_items)
    if not usable.any():
        raise ValueError("no user has both an item and a non-item, so there is nothing to train on")
    if by == "user":
        user = rng.choice(np.flatnonzero(usable), size=len(graph))
        positive = graph.item[graph.indptr[user] + rng.integers(0, degree[user])]
    elif by == "edge":
        edge = rng.permutation(len(graph))
        edge = edge[usable[graph.user[edge]]]
        user, positive = graph.user[edge], graph.item[edge]
    else:
        raise ValueError(f'sampling must be "user" or "edge", not {by!r}')
    return user, positive, sample_negatives(graph, user, rng)


def sample_negatives(graph: Interactions, user: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw for each entry of user (S,) one item that the user has not interacted with, uniformly.

    Rejection: all S at once, then the collisions again; each round keeps the share of collisions
    (the density) or less.
    """
    negative = rng.integers(0, graph.num_items, size=user.size)
    clash = np.flatnonzero(graph.contains(user, negative))
    while clash.size:
        negative[clash] = rng.integers(0, graph.num_items, size=clash.size)
        clash = clash[graph.contains(user[clash], negative[clash])]
    return negative
