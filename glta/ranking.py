"""Exact top-K over the whole catalogue in blocks of users, with a stated tie rule."""

# U users, I items, B users of a block, K list length
from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from glta.data.interactions import Interactions
from glta.training import Diverged, keep_freed_memory

NO_ITEM = -1  # fills a list when fewer than K items are left to recommend


def top_k(scores_BI: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the k best items per row; among equal scores the lower item id comes first.

    Returns scores and items, both (B, k), best first. Items with score -inf are never selected: their places hold
    -inf and NO_ITEM, as do places beyond the catalogue. Raises Diverged for NaN scores.

    torch.topk breaks ties arbitrarily, so the (k+1)-th score is fetched too: only where it equals the k-th
    can the wrong items have been chosen, and only those rows are done again.
    """
    num_items = scores_BI.shape[1]
    width = min(k, num_items)
    best, item = scores_BI.topk(min(k + 1, num_items), dim=1)
    if best.isnan().any():  # topk puts NaN first, so looking at the winners is enough
        raise Diverged("scores contain NaN: the model has diverged, lower its learning rate")
    if best.shape[1] > width:
        tied = (best[:, width - 1] == best[:, width]) & (best[:, width - 1] > -torch.inf)
        best, item = best[:, :width].contiguous(), item[:, :width].contiguous()
        for row in tied.nonzero().flatten().tolist():
            edge = best[row, -1]
            above = (scores_BI[row] > edge).nonzero().flatten()
            level = (scores_BI[row] == edge).nonzero().flatten()[: width - above.numel()]
            item[row] = torch.cat([above, level])
            best[row] = scores_BI[row, item[row]]
    # order by (score descending, item ascending): two stable sorts, the less significant key first
    item, order = item.sort(dim=1)
    best, order = best.gather(1, order).sort(dim=1, descending=True, stable=True)
    item = item.gather(1, order).masked_fill(best == -torch.inf, NO_ITEM)
    if width < k:
        best = torch.nn.functional.pad(best, (0, k - width), value=-torch.inf)
        item = torch.nn.functional.pad(item, (0, k - width), value=NO_ITEM)
    return best, item


def rank(
    score: Callable[[np.ndarray], np.ndarray | torch.Tensor],
    users: np.ndarray,
    k: int,
    exclude: Interactions,
    block_bytes: int = 64 * 2**20,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rank the catalogue for users, block by block, never showing an excluded pair.

    score: maps user ids (B,) to scores (B, I). exclude: pairs masked out (training, at test time also validation).
    Yields (users (B,), items (B, k), scores (B, k)); B is chosen so that a block of scores takes block_bytes.
    """
    keep_freed_memory()  # a block of scores is a new one each time
    block = max(1, block_bytes // (4 * max(exclude.num_items, 1)))
    for start in range(0, len(users), block):
        part = users[start : start + block]
        scores_BI = torch.as_tensor(score(part))
        row, item = (torch.from_numpy(ids).to(scores_BI.device) for ids in exclude.rows(part))
        scores_BI[row, item] = -torch.inf
        best, items = top_k(scores_BI, k)
        yield part, items.cpu().numpy(), best.cpu().numpy()


def rank_among(score, users: np.ndarray, k: int, exclude: Interactions, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank a part of the catalogue, as `rank_all` does all of it. items: its ids, ascending; the result names them."""
    place = np.full(exclude.num_items, NO_ITEM)
    place[items] = np.arange(items.size)
    inside = place[exclude.item] != NO_ITEM
    masked = Interactions(exclude.user[inside], place[exclude.item[inside]], exclude.num_users, items.size)
    found, scores = rank_all(lambda part: score(part)[:, items], users, k, masked)
    return np.where(found == NO_ITEM, NO_ITEM, items[found]), scores


def rank_all(score, users: np.ndarray, k: int, exclude: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Collect `rank` into two arrays, items and scores, each (len(users), k)."""
    blocks = list(rank(score, users, k, exclude))
    if not blocks:
        return np.empty((0, k), np.int64), np.empty((0, k), np.float32)
    return np.concatenate([b[1] for b in blocks]), np.concatenate([b[2] for b in blocks])
