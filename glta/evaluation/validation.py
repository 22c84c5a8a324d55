"""Measure NDCG@20 on the validation pairs, by which every choice is made.

Epochs, mixing weights and hyperparameters are all selected by this one number. The training items
of a user are masked. A refit has no validation pairs: it gets the values of the first fit
(`glta.training.choices`). So a method must ask the validation pairs through this module alone.
"""

# U users, I items, D embedding width, B users of a block, S candidates that are compared
from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.metrics import accuracy, hits
from glta.evaluation.ranking import dot_products, top_k
from glta.training.choices import current_choices

Scores = np.ndarray | torch.Tensor


def validation_ndcg(
    prepared: Prepared,
    score: Callable[[np.ndarray], Scores],
    *,
    k: int = 20,
    most_users: int = 0,
) -> float:
    """Average NDCG@k over the users who have validation items (`measured_users`).

    score: maps user ids (B,) to scores (B, I). It must return a fresh array or tensor, because the
    scores of training items are overwritten. A tensor may be on any device. Returns a value in
    [0, 1]. Raises ValueError without validation pairs.
    most_users: for scores that cost much, or a large catalogue for many users: so many of these
        users are measured, spread evenly over their ids; 0: all.
    """
    found = validation_ndcgs(prepared, lambda users: [score(users)], k=k, most_users=most_users)
    return float(found[0])


def lists_ndcg(
    prepared: Prepared,
    lists: Callable[[np.ndarray, int], np.ndarray],
    *,
    k: int = 20,
    most_users: int = 0,
) -> float:
    """Average NDCG@k as `validation_ndcg` does, of lists that are made without scores of all items.

    lists: maps user ids (B,) and K to items (B, K), best first, -1 for no item, without training
    items of the user. Returns a value in [0, 1]. Raises as `validation_ndcg` does.
    """

    def measure() -> list[float]:
        users = _asked(prepared, most_users)
        hits_UK = hits(lists(users, k), users, relevant=prepared.valid)
        values = accuracy(hits_UK, prepared.valid.user_degree[users], k=k)
        return [float(values["ndcg"].mean())]

    return float(current_choices().value(measure)[0])


def embeddings_ndcg(
    prepared: Prepared, *, most_users: int = 0
) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return a function that measures embeddings whose scores are dot products.

    It maps user embeddings (U, D) and item embeddings (I, D) to their `validation_ndcg`.
    most_users: see `validation_ndcg`.
    """

    def measure(user_UD: np.ndarray, item_ID: np.ndarray) -> float:
        return validation_ndcg(
            prepared,
            lambda users: dot_products(user_UD[users], item_ID),
            most_users=most_users,
        )

    return measure


def validation_ndcgs(
    prepared: Prepared,
    scores: Callable[[np.ndarray], Iterable[Scores]],
    *,
    k: int = 20,
    block_bytes: int = 32 * 2**20,
    most_users: int = 0,
    users: np.ndarray | None = None,
) -> np.ndarray:
    """Average NDCG@k over the users who have validation items, for several candidates at once.

    scores: maps user ids (B,) to S arrays or tensors (B, I), one for each candidate, with the same
    S for every block of users. What the candidates share is thereby computed once per block.
    block_bytes: size of the scores of one candidate for one block. most_users: see
    `validation_ndcg`. users: whom to measure, with validation pairs; None: `measured_users`.
    Returns (S,) float64 in [0, 1]. Raises ValueError without validation pairs.
    """

    def measure() -> list[float]:
        asked = _asked(prepared, most_users) if users is None else users
        return _measure(prepared, scores, k, block_bytes, asked).tolist()

    return np.array(current_choices().value(measure), np.float64)


def measured_users(prepared: Prepared, most_users: int = 0) -> np.ndarray:
    """Return the users by whom every choice is made: those with validation and training items.

    most_users: so many of them, spread evenly over their ids; 0: all.

    Users without a training item get the most popular items from every method
    (`glta/methods/shared/without_history.py`), so that no choice may depend on their scores. If no
    user has both, all users with validation items are returned.
    """
    wanted = prepared.valid.user_degree > 0
    users = np.flatnonzero(wanted & (prepared.train.user_degree > 0))
    users = users if users.size else np.flatnonzero(wanted)
    if 0 < most_users < users.size:
        users = users[np.linspace(0, users.size - 1, most_users).astype(np.int64)]
    return users


def validation_loss(prepared: Prepared, score: Callable[[np.ndarray], torch.Tensor]) -> float:
    """Average -log softmax of the validation pairs, in nats, over all items that can be in a list.

    A softmax that is trained on some pairs, and predicts others no better than before, over-fits.
    score: maps user ids (B,) to fresh logits (B, I), -inf for items that no list can have; pairs of
    such items are left out, and so are the user's training items from the softmax.
    """
    valid = prepared.valid
    users = measured_users(prepared)
    block_size = max(1, 32 * 2**20 // (4 * valid.num_items))
    total, count = 0.0, 0
    for start in range(0, users.size, block_size):
        block = users[start : start + block_size]
        logits_BI = score(block)
        logits_BI[_ids(prepared.train, block, logits_BI)] = -torch.inf
        row, item = _ids(valid, block, logits_BI)
        nats = logits_BI.logsumexp(1)[row] - logits_BI[row, item]
        nats = nats[nats.isfinite()]
        total += float(nats.double().sum())
        count += nats.numel()
    return total / max(count, 1)


def _ids(
    pairs: Interactions, users: np.ndarray, like: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows and items of the pairs of some users, on the device of `like`."""
    row, item = pairs.rows(users)
    return torch.from_numpy(row).to(like.device), torch.from_numpy(item).to(like.device)


def has_validation_pairs(prepared: Prepared) -> bool:
    """Tell whether there is anything to choose by. A refit gets the answer of the first fit."""
    return bool(current_choices().value(lambda: [float(len(prepared.valid))])[0])


def _measure(
    prepared: Prepared,
    scores: Callable[[np.ndarray], Iterable[Scores]],
    k: int,
    block_bytes: int,
    users: np.ndarray,
) -> np.ndarray:
    """Compute `validation_ndcgs` over some users."""
    valid = prepared.valid
    block_size = max(1, block_bytes // (4 * valid.num_items))
    totals = []
    for start in range(0, users.size, block_size):
        block = users[start : start + block_size]
        masked = [torch.from_numpy(ids) for ids in prepared.train.rows(block)]
        num_relevant = valid.user_degree[block]
        values = []
        for candidate in scores(block):
            scores_BI = torch.as_tensor(candidate)
            row, item = (ids.to(scores_BI.device) for ids in masked)
            scores_BI[row, item] = -torch.inf
            items_BK = top_k(scores_BI, k)[1].cpu().numpy()
            hits_BK = hits(items_BK, block, relevant=valid)
            values.append(accuracy(hits_BK, num_relevant, k=k)["ndcg"].sum())
        totals.append(values)
    return np.sum(totals, axis=0) / users.size


def _asked(prepared: Prepared, most_users: int) -> np.ndarray:
    """Return the users who are measured. Raises ValueError when nobody has a validation pair."""
    users = measured_users(prepared, most_users)
    if not users.size:
        raise ValueError(
            "there are no validation pairs to select by: raise prepare.valid_share or lower "
            "prepare.user_core"
        )
    return users
