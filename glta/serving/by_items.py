"""Lists for users who are known by their items alone (fold-in). Nothing is trained."""

# B users, I items, K list length
from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from glta.data.interactions import Interactions
from glta.data.sequences import Sequences
from glta.methods.base import Recommender, Scorer


def can_fold_in(capabilities: Collection[str]) -> bool:
    """Return whether a method can score a user by a list of items. See `Capability`."""
    return not {"histories", "sequences"}.isdisjoint(capabilities)


def each_once(items: Iterable[int]) -> list[int]:
    """Keep each item once, at its newest place, as the training data do. items: oldest first."""
    return [*dict.fromkeys(reversed([*items]))][::-1]


def recommend_by_items(
    model: Recommender,
    histories: Sequence[Sequence[int]],
    k: int,
    *,
    masked: Sequence[Collection[int]],
    num_items: int,
    capabilities: Collection[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Recommend k items to each of B users. Returns items and scores, each (B, k).

    histories: the items that the scores of a user depend on, oldest first, at least one.
    masked: the items of each user that are not shown. capabilities: of the method.
    Raises ValueError for a method that cannot score a list of items.
    """
    # it imports torch, which answers from the store do without
    from glta.evaluation.ranking import rank_all

    exclude = interactions_of(masked, num_items)
    users = np.arange(len(histories))
    if "sequences" in capabilities:
        sequences = Sequences.of_lists(histories, num_items)
        return model.with_histories(sequences).recommend(users, k, exclude)

    def score(block: np.ndarray) -> np.ndarray:
        return model.score_newcomers(Sequences.of_lists([histories[n] for n in block], num_items))

    return rank_all(score, users, k=k, exclude=exclude)


def score_by_items(
    model: Recommender,
    histories: Sequence[Sequence[int]],
    *,
    num_items: int,
    capabilities: Collection[str],
) -> np.ndarray | None:
    """Score all items for B users by their items alone: (B, I) float32.

    The arguments are those of `recommend_by_items`. Returns None for a method that ranks items in
    order without a score for each of them.
    """
    sequences = Sequences.of_lists(histories, num_items)
    if "sequences" not in capabilities:
        return np.asarray(model.score_newcomers(sequences))
    newcomers = model.with_histories(sequences)
    if not isinstance(newcomers, Scorer):
        return None
    return np.asarray(newcomers.score(np.arange(len(histories))))


def interactions_of(items: Sequence[Collection[int]], num_items: int) -> Interactions:
    """Return the pairs of user n with items[n]."""
    user = np.repeat(np.arange(len(items)), [len(one) for one in items])
    item = np.fromiter((item for one in items for item in one), np.int64, user.size)
    return Interactions.of(user, item, len(items), num_items)
