"""The tree of all code sequences that name an item."""

# I items, M codes of an item, K codes of a level, N prefixes of one length, E of their children
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from glta.training.stopping import Diverged

NextLogits = Callable[
    [torch.Tensor, torch.Tensor, Any, torch.Tensor | None], tuple[torch.Tensor, Any]
]
"""Computes the logits of the next code after prefixes: (prefix_NL, owner_N, state, parent_N).

prefix_NL: (N, l) codes; l = 0 at first. owner_N: (N,) whose prefix it is, ascending.
state: what the call for the shorter prefixes returned, such as keys and values of attention; None
at first. parent_N: (N,) the row of that call whose prefix each prefix continues; None at first.
Returns the logits (N, K) of all codes of level l, and a state; None keeps nothing.
"""


class Children(NamedTuple):
    """Name the children of some nodes.

    row: (E,) which of the nodes, ascending. node: (E,) the child, on the next level.
    score: (E,) float32, the log-probability of the path from the root.
    """

    row: torch.Tensor
    node: torch.Tensor
    score: torch.Tensor


@dataclass(frozen=True)
class TreeLevel:
    """Hold the different prefixes of one length, sorted: the nodes of one level.

    prefix: (N, l) int64. child: (N+1,) int64; the children of node n are child[n]:child[n+1] of the
    next level. leaf: (N+1,) int64, likewise for the leaves below a node. size: (N,) int64, how many
    leaves that are. lowest: (N,) int64, the lowest item id below a node.
    """

    prefix: torch.Tensor
    child: torch.Tensor
    leaf: torch.Tensor
    size: torch.Tensor
    lowest: torch.Tensor


@dataclass(frozen=True)
class PrefixTree:
    """Hold the tree level by level, as flat arrays.

    levels: of the prefixes with 0, 1, ..., M codes. The nodes of the last level are the leaves, one
    an item.
    leaf_of: (I,) int64, the leaf of each item.
    """

    levels: tuple[TreeLevel, ...]
    leaf_of: torch.Tensor

    @classmethod
    def of(cls, codes_IM: np.ndarray, device: torch.device | str = "cpu") -> Self:
        """Build the tree. Raises ValueError when two items have equal codes, or without items."""
        num_items, length = codes_IM.shape
        if not num_items or not length:
            raise ValueError("a prefix tree needs at least one item with at least one code")
        item = np.lexsort(codes_IM.T[::-1])  # by the first code, then by the second, ...
        ordered = codes_IM[item].astype(np.int64)
        differs = ordered[1:] != ordered[:-1]
        if not (other := differs.any(1)).all():
            first, second = item[np.flatnonzero(~other)[0] + np.arange(2)]
            raise ValueError(
                f"items {first} and {second} have equal codes; resolve collisions before the tree "
                "is built"
            )
        # where a prefix of l codes begins among the leaves, for each l
        new = np.logical_or.accumulate(differs, 1)
        starts = [np.zeros(1, np.int64)]
        starts += [np.r_[0, np.flatnonzero(new[:, last]) + 1] for last in range(length)]

        def put(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        levels = []
        for used, start in enumerate(starts):
            below = starts[min(used + 1, length)]
            leaf = np.r_[start, num_items]
            levels.append(
                TreeLevel(
                    prefix=put(ordered[start, :used]),
                    child=put(np.asarray(np.searchsorted(below, leaf))),
                    leaf=put(leaf),
                    size=put(np.diff(leaf)),
                    lowest=put(np.minimum.reduceat(item, start).astype(np.int64)),
                )
            )
        leaf_of = np.empty(num_items, np.int64)
        leaf_of[item] = np.arange(num_items)
        return cls(tuple(levels), put(leaf_of))

    @property
    def num_items(self) -> int:
        return len(self.leaf_of)

    @property
    def depth(self) -> int:
        """M, the number of codes of an item."""
        return len(self.levels) - 1

    def children(
        self, level: int, node_N: torch.Tensor, score_N: torch.Tensor, logits_NK: torch.Tensor
    ) -> Children:
        """Score the children of nodes: the softmax is over the codes that continue the prefix.

        level: of the nodes, below `depth`. score_N: log-probabilities of the nodes. Raises Diverged
        for NaN.
        """
        here = self.levels[level]
        first = here.child[node_N]
        count = here.child[node_N + 1] - first
        row = torch.repeat_interleave(count)
        begin = count.cumsum(0) - count
        node = (first - begin)[row] + torch.arange(len(row), device=row.device)
        code = self.levels[level + 1].prefix[node, level]
        logit = logits_NK[row, code].float()
        # log-sum-exp over the children alone, which are far fewer than the codes of a level
        highest = torch.segment_reduce(logit, "max", lengths=count)
        total = torch.segment_reduce((logit - highest[row]).exp(), "sum", lengths=count)
        score = (score_N - highest - total.log())[row] + logit
        if score.isnan().any():
            raise Diverged("scores contain NaN: the model has diverged, lower its learning rate")
        return Children(row, node, score)

    def used_up(self, owner_E: torch.Tensor, item_E: torch.Tensor) -> list[torch.Tensor]:
        """Return the nodes of each level with no item left for an owner, as sorted keys.

        owner_E, item_E: pairs of owners and items that are not to be generated.
        The key of node n of an owner is owner * N + n, with the N of the level.
        """
        pair = torch.unique(owner_E * self.num_items + self.leaf_of[item_E])
        owner = pair // self.num_items
        leaf = pair % self.num_items
        found = []
        for level in self.levels:
            node = torch.searchsorted(level.leaf, leaf, right=True) - 1
            key, count = torch.unique(owner * len(level.size) + node, return_counts=True)
            found.append(key[count == level.size[key % len(level.size)]])
        return found
