"""Rank the whole catalogue exactly, in blocks of users, with a stated rule for equal scores."""

# U users, I items, D embedding width, B users of a block, K list length
from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from glta.data.interactions import Interactions
from glta.training.devices import keep_freed_memory
from glta.training.stopping import Diverged

NO_ITEM = -1
"""Fills a list when fewer than K items are left to recommend."""

MIN_PART = 16
"""Smallest part of a row that `_highest` selects by. Below it, one selection is as fast as two."""

Score = Callable[[np.ndarray], np.ndarray | torch.Tensor]
"""Maps user ids (B,) to fresh scores (B, I), which may be overwritten."""


def top_k(scores_BI: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the k best items per row; among equal scores the lower item id comes first.

    Returns scores and items, both (B, k), best first. Items with score -inf are never selected.
    Places without an item hold -inf and NO_ITEM. Raises Diverged for NaN scores.

    torch.topk breaks ties arbitrarily. The (k+1)-th score is therefore fetched too: the wrong items
    can only have been chosen where it equals the k-th, and only those rows are selected again.
    """
    num_items = scores_BI.shape[1]
    width = min(k, num_items)
    best, item = _highest(scores_BI, min(k + 1, num_items))
    if best.isnan().any():  # topk puts NaN first, so the selected scores show every NaN
        raise Diverged("scores contain NaN: the model has diverged, lower its learning rate")
    if best.shape[1] > width:
        tied = (best[:, width - 1] == best[:, width]) & (best[:, width - 1] > -torch.inf)
        best = best[:, :width].contiguous()
        item = item[:, :width].contiguous()
        for row in tied.nonzero().flatten().tolist():
            last = best[row, -1]
            above = (scores_BI[row] > last).nonzero().flatten()
            equal = (scores_BI[row] == last).nonzero().flatten()[: width - above.numel()]
            item[row] = torch.cat([above, equal])
            best[row] = scores_BI[row, item[row]]
    # order by (score descending, item ascending): two stable sorts, the less significant key first
    item, order = item.sort(dim=1)
    best, order = best.gather(1, order).sort(dim=1, descending=True, stable=True)
    item = item.gather(1, order).masked_fill(best == -torch.inf, NO_ITEM)
    if width < k:
        best = torch.nn.functional.pad(best, (0, k - width), value=-torch.inf)
        item = torch.nn.functional.pad(item, (0, k - width), value=NO_ITEM)
    return best, item


def _highest(scores_BI: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the k highest scores of each row, with any items that have them.

    Returns scores and items, both (B, k), best first.

    Divide a row into parts. Its k highest scores lie within the k parts with the highest maxima.
    With parts of sqrt(I / k) items, two short selections are faster than a long one.
    """
    num_items = scores_BI.shape[1]
    size = round((num_items / k) ** 0.5)
    if size < MIN_PART:
        return scores_BI.topk(k, dim=1)
    count = num_items // size
    # part c has the items c, c + count, c + 2 * count, ...
    parts_BSC = scores_BI[:, : size * count].unflatten(1, (size, count))
    part_B1k = parts_BSC.amax(1).topk(k, dim=1, sorted=False).indices[:, None]
    # items that do not fill a part are always candidates
    rest = torch.arange(size * count, num_items, device=scores_BI.device)
    steps_S = count * torch.arange(size, device=scores_BI.device)
    in_parts = parts_BSC.gather(2, part_B1k.expand(-1, size, -1)).flatten(1)
    items_in_parts = (part_B1k + steps_S[:, None]).flatten(1)
    candidate_score = torch.cat([in_parts, scores_BI[:, rest]], 1)
    candidate_item = torch.cat([items_in_parts, rest.expand(len(scores_BI), -1)], 1)
    best, place = candidate_score.topk(k, dim=1)
    return best, candidate_item.gather(1, place)


def dot_products(left_BD: np.ndarray, right_ID: np.ndarray) -> np.ndarray:
    """Multiply embeddings to scores (B, I), with torch's threads.

    numpy has threads of its own. torch's threads also select the best items, and two sets of
    threads would wait for each other on the same cores (docs/performance.md).
    """
    return (torch.from_numpy(left_BD) @ torch.from_numpy(right_ID).T).numpy()


def rank(
    score: Score,
    users: np.ndarray,
    *,
    k: int,
    exclude: Interactions,
    block_bytes: int = 64 * 2**20,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rank the catalogue for users, block by block, without the excluded pairs.

    score: maps user ids (B,) to scores (B, I), which are overwritten. exclude: pairs that are never
    shown, which are the training pairs and at test time also the validation pairs. block_bytes:
    size of the scores of one block, which sets B. Yields (users (B,), items (B, k), scores (B, k)).
    Raises Diverged for NaN scores.
    """
    keep_freed_memory()  # every block of scores needs new memory of the same size
    block_size = max(1, block_bytes // (4 * max(exclude.num_items, 1)))
    for start in range(0, len(users), block_size):
        block = users[start : start + block_size]
        scores_BI = torch.as_tensor(score(block))
        row, item = (torch.from_numpy(ids).to(scores_BI.device) for ids in exclude.rows(block))
        scores_BI[row, item] = -torch.inf
        best, items = top_k(scores_BI, k)
        yield block, items.cpu().numpy(), best.cpu().numpy()


def rank_among(
    score: Score, users: np.ndarray, *, k: int, exclude: Interactions, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rank a part of the catalogue for users.

    items: ids of the part, ascending. The other arguments are those of `rank`. Returns items and
    scores, each (len(users), k); the items have the ids of the whole catalogue.
    """
    place = np.full(exclude.num_items, NO_ITEM)
    place[items] = np.arange(items.size)
    inside = place[exclude.item] != NO_ITEM
    excluded = Interactions(
        exclude.user[inside], place[exclude.item[inside]], exclude.num_users, items.size
    )
    found, scores = rank_all(lambda block: score(block)[:, items], users, k=k, exclude=excluded)
    return np.where(found == NO_ITEM, NO_ITEM, items[found]), scores


def rank_all(
    score: Score, users: np.ndarray, *, k: int, exclude: Interactions
) -> tuple[np.ndarray, np.ndarray]:
    """Rank the catalogue for users and collect the blocks of `rank`.

    Returns items and scores, each (len(users), k).
    """
    blocks = list(rank(score, users, k=k, exclude=exclude))
    if not blocks:
        return np.empty((0, k), np.int64), np.empty((0, k), np.float32)
    items = np.concatenate([items for _, items, _ in blocks])
    scores = np.concatenate([scores for _, _, scores in blocks])
    return items, scores
