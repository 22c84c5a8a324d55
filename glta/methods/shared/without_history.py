"""Lists for users without a history, from whom no method can tell what they like."""

# B users of a block, K list length
from __future__ import annotations

import numpy as np

from glta.data.interactions import Interactions
from glta.methods.base import Recommender


def recommend_to_all(
    model: Recommender,
    users: np.ndarray,
    k: int,
    *,
    fitted: Interactions,
    exclude: Interactions,
    scored: Interactions | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Recommend as `Recommender.recommend` does, but the most popular items without a history.

    A user has none if no pair of `scored` is theirs. Their scores of most methods would be those
    of random initial weights, or all equal. The most popular items are the same for every method,
    so such users do not decide which method is better.
    fitted: the pairs that the model was fitted on; popularity is counted in them. scored: see
    `glta.methods.shared.stored_lists.scored_pairs`; None: `fitted`. Returns items and scores, each
    (B, K). The scores of popular items are their numbers of users.
    """
    with_history = (fitted if scored is None else scored).user_degree[users] > 0
    if with_history.all():
        return model.recommend(users, k, exclude)
    items = np.empty((users.size, k), np.int64)
    scores = np.empty((users.size, k), np.float32)
    if with_history.any():
        found = model.recommend(users[with_history], k, exclude)
        items[with_history], scores[with_history] = found
    # it imports torch, which answers from a store do without
    from glta.evaluation.ranking import rank_all

    popular = fitted.item_degree.astype(np.float32)
    found = rank_all(
        lambda block: np.tile(popular, (block.size, 1)), users[~with_history], k=k, exclude=exclude
    )
    items[~with_history], scores[~with_history] = found
    return items, scores
