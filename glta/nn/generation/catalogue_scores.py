"""Compute the log-probability of every item, through the tree of code sequences."""

# B owners, I items, M codes of an item, N rows of a block
from __future__ import annotations

from typing import Any

import torch

from glta.nn.generation.prefix_tree import NextLogits, PrefixTree


@torch.no_grad()
def catalogue_scores(
    tree: PrefixTree, next_logits: NextLogits, num_owners: int, *, rows: int = 4096
) -> torch.Tensor:
    """Score the whole catalogue exactly: (B, I) float32 log-probabilities, which add up to 1.

    The log-probability of an item is the sum over its codes of the log-softmax over the codes that
    continue the prefix to an item. Each prefix is asked for once an owner, and one with a single
    item below needs no logits. rows: the most prefixes of a call. The tree is walked depth first,
    so that memory is bounded by M calls.
    """
    device = tree.leaf_of.device
    found = torch.empty(num_owners, tree.num_items, device=device)

    def visit(
        level: int,
        owner: torch.Tensor,
        node: torch.Tensor,
        score: torch.Tensor,
        state: Any,
        parent: torch.Tensor | None,
    ) -> None:
        below = tree.levels[level + 1]
        for start in range(0, len(owner), rows):
            part = slice(start, start + rows)
            prefix = tree.levels[level].prefix[node[part]]
            of_part = None if parent is None else parent[part]
            logits, made = next_logits(prefix, owner[part], state, of_part)
            row, child, total = tree.children(level, node[part], score[part], logits)
            holder = owner[part][row]
            single = below.size[child] == 1
            found[holder[single], below.lowest[child[single]]] = total[single]
            more = ~single
            if more.any():
                visit(level + 1, holder[more], child[more], total[more], made, row[more])

    everyone = torch.arange(num_owners, device=device)
    root = torch.zeros_like(everyone)
    visit(0, everyone, root, torch.zeros(num_owners, device=device), None, None)
    return found
