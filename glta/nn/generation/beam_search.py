"""Search the best items of each owner by beams, in the tree of code sequences."""

# B owners, K list length, W beam width, R prefixes that are kept, E candidates
from __future__ import annotations

from typing import Any

import torch

from glta.nn.generation.prefix_tree import NextLogits, PrefixTree

NO_CODES = -1
"""The item id of a place in a list for which no item is left."""


@torch.no_grad()
def beam_search(
    tree: PrefixTree,
    next_logits: NextLogits,
    num_owners: int,
    *,
    k: int,
    width: int,
    masked: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the k best items of each owner: items (B, k) int64, log-probabilities (B, k) float32.

    Each level keeps the best `width` prefixes of an owner, at least k. Of equal scores, the prefix
    or item with the lower item id comes first. Scores are those of `catalogue_scores`: masked items
    take part in the softmax.
    masked: owners and items, each (E,), that are never shown. A prefix without another item below
        is no candidate. So k different items are found wherever k are left: a level has all
        prefixes with an item left, or `width` of them, and each has a child with an item left.
    Places for which no item is left hold NO_CODES and -inf.
    """
    device = tree.leaf_of.device
    width = max(width, k)
    owner = torch.arange(num_owners, device=device)
    gone = tree.used_up(*((owner[:0], owner[:0]) if masked is None else masked))
    owner = owner[~torch.isin(owner, gone[0])]
    node = torch.zeros_like(owner)
    score = torch.zeros(len(owner), device=device)
    parent: torch.Tensor | None = None
    state: Any = None
    for level in range(tree.depth):
        here = tree.levels[level]
        below = tree.levels[level + 1]
        several = here.size[node] > 1
        # the one child of a prefix with one item below has probability 1
        sure = ~several
        candidates = [
            (owner[sure], here.child[node[sure]], score[sure], torch.zeros_like(node[sure]))
        ]
        if several.any():
            asked = owner[several]
            of_state = None if parent is None else parent[several]
            logits, state = next_logits(here.prefix[node[several]], asked, state, of_state)
            row, child, total = tree.children(level, node[several], score[several], logits)
            candidates.append((asked[row], child, total, row))
        owner, node, score, parent = (torch.cat(parts) for parts in zip(*candidates, strict=True))
        free = ~torch.isin(owner * len(below.size) + node, gone[level + 1])
        kept = free.nonzero().flatten()
        kept = kept[_best(owner[kept], score[kept], below.lowest[node[kept]], width)]
        owner, node, score, parent = (x[kept] for x in (owner, node, score, parent))
    place = _places(owner)
    shown = place < k
    items = torch.full((num_owners, k), NO_CODES, device=device)
    scores = torch.full((num_owners, k), -torch.inf, device=device)
    at = owner[shown], place[shown]
    items[at] = tree.levels[-1].lowest[node[shown]]
    scores[at] = score[shown]
    return items, scores


def _best(
    owner_E: torch.Tensor, score_E: torch.Tensor, item_E: torch.Tensor, width: int
) -> torch.Tensor:
    """Return the places of the best candidates of each owner, by owner, best first."""
    # one sort by owner and score: the bits of floats are in the order of their magnitudes
    bits = score_E.view(torch.int32).long()
    key = owner_E * 2**32 + torch.where(bits < 0, bits + 2**31, -bits)
    order = key.argsort()
    if (key[order[1:]] == key[order[:-1]]).any():
        order = item_E.argsort()
        order = order[key[order].argsort(stable=True)]
    return order[_places(owner_E[order]) < width]


def _places(owner_E: torch.Tensor) -> torch.Tensor:
    """Count the earlier entries with the same owner. Owners ascend."""
    return torch.arange(len(owner_E), device=owner_E.device) - torch.searchsorted(owner_E, owner_E)
