"""Exact top-K over the whole catalogue in blocks of users, with a stated tie rule."""

# U users, I items, B users of a block, K list length
from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from glta.data.interactions import Interactions
from glta.training.devices import keep_freed_memory
from glta.training.stopping import Diverged

NO_ITEM = -1  # fills a list when fewer than K items are left to recommend
MIN_PART = 16  # below, one selection is as fast as two


def top_k(scores_BI: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the k best items per row; among equal scores the lower item id comes first.

    Returns scores and items, both (B, k), best first. Items with score -inf are never selected:
    their places hold
    -inf and NO_ITEM, as do places beyond the catalogue. Raises Diverged for NaN scores.

    torch.topk breaks ties arbitrarily, so the (k+1)-th score is fetched too: only where it equals
    the k-th can the wrong items have been chosen, and only those rows are done again.
    """
    num_items = scores_BI.shape[1]
    width = min(k, num_items)
    best, item = _highest(scores_BI, min(k + 1, num_items))
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


def _highest(scores_BI: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the k highest scores and any items that have them, (B, k), best first.

    A row's k highest scores lie within the k parts of it with the highest maxima, whichever way it
    is cut. With parts of sqrt(I / k) items, two short selections take the place of a long one.
    """
    num_items = scores_BI.shape[1]
    size = round((num_items / k) ** 0.5)
    if size < MIN_PART:
        return scores_BI.topk(k, dim=1)
    count = num_items // size
    parts_BSC = scores_BI[:, : size * count].unflatten(
        1, (size, count)
    )  # part c has the items c, c + count, ...
    part_Bk = parts_BSC.amax(1).topk(k, dim=1, sorted=False).indices[:, None]
    rest = torch.arange(size * count, num_items, device=scores_BI.device)
    steps_S = count * torch.arange(size, device=scores_BI.device)
    score = torch.cat(
        [parts_BSC.gather(2, part_Bk.expand(-1, size, -1)).flatten(1), scores_BI[:, rest]], 1
    )
    item = torch.cat([(part_Bk + steps_S[:, None]).flatten(1), rest.expand(len(scores_BI), -1)], 1)
    best, place = score.topk(k, dim=1)
    return best, item.gather(1, place)


def dot_products(left_BD: np.ndarray, right_ID: np.ndarray) -> np.ndarray:
    """Multiply embeddings, (B, I), with torch's threads, which also select.

    numpy has threads of its own; the two pools would wait for each other on the same cores
    (docs/performance.md).
    """
    return (torch.from_numpy(left_BD) @ torch.from_numpy(right_ID).T).numpy()


def rank(
    score: Callable[[np.ndarray], np.ndarray | torch.Tensor],
    users: np.ndarray,
    k: int,
    exclude: Interactions,
    block_bytes: int = 64 * 2**20,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rank the catalogue for users, block by block, never showing an excluded pair.

    score: maps user ids (B,) to scores (B, I). exclude: pairs masked out (training, at test time
    also validation). Yields (users (B,), items (B, k), scores (B, k)); B is chosen so that a block
    of scores takes block_bytes.
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


def rank_among(
    score, users: np.ndarray, k: int, exclude: Interactions, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rank a part of the catalogue, as `rank_all` does all of it.

    items: its ids, ascending; the result names them.
    """
    place = np.full(exclude.num_items, NO_ITEM)
    place[items] = np.arange(items.size)
    inside = place[exclude.item] != NO_ITEM
    masked = Interactions(
        exclude.user[inside], place[exclude.item[inside]], exclude.num_users, items.size
    )
    found, scores = rank_all(lambda part: score(part)[:, items], users, k, masked)
    return np.where(found == NO_ITEM, NO_ITEM, items[found]), scores


def rank_all(
    score, users: np.ndarray, k: int, exclude: Interactions
) -> tuple[np.ndarray, np.ndarray]:
    """Collect `rank` into two arrays, items and scores, each (len(users), k)."""
    blocks = list(rank(score, users, k, exclude))
    if not blocks:
        return np.empty((0, k), np.int64), np.empty((0, k), np.float32)
    return np.concatenate([b[1] for b in blocks]), np.concatenate([b[2] for b in blocks])
