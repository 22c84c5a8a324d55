"""Solve the start of the scores, so that training begins where the external vectors end."""

# N examples, I items, H language width, F width of external vectors
from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F

# penalty of the ridge regression, on standardised states
RIDGE = 100.0
# tried for the scale of the scores, and for the text part's share of it
SCALES = [2 ** (step / 2) for step in range(-4, 13)]
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def solved_map(states_NH: torch.Tensor, vectors_NF: torch.Tensor) -> torch.Tensor:
    """Solve the map (F, H) from standardised states to users' vectors, by ridge regression."""
    gram_HH = states_NH.T @ states_NH + RIDGE * torch.eye(states_NH.shape[1]).to(states_NH)
    return torch.linalg.solve(gram_HH, states_NH.T @ vectors_NF).T


def part_weights(
    users_NF: torch.Tensor,
    items_IF: torch.Tensor,
    *,
    widths: Sequence[int],
    target_N: torch.Tensor,
    left_out_NI: torch.Tensor,
) -> torch.Tensor:
    """Choose a weight for each part of the vectors: (F,), equal within a part.

    The weights are those of a small grid with the lowest cross-entropy of the training targets,
    among all items but those left out. widths: of the parts, graph and text; 0 for a part that is
    not used.
    """
    scores = []
    for users, items in zip(
        users_NF.split(list(widths), 1), items_IF.split(list(widths), 1), strict=True
    ):
        score = users @ items.T
        # in units of its own spread, so that the shares mean the same for all data
        scores.append((score, float(score.std(1).mean().clamp_min(1e-12))))
    (graph, graph_spread), (text, text_spread) = scores

    def weights(scale: float, share: float) -> tuple[float, float]:
        if not all(widths):
            return scale / graph_spread, scale / text_spread
        return scale * (1 - share) / graph_spread, scale * share / text_spread

    def loss(choice: tuple[float, float]) -> float:
        on_graph, on_text = weights(*choice)
        logits = (on_graph * graph + on_text * text).masked_fill(left_out_NI, -torch.inf)
        return float(F.cross_entropy(logits, target_N))

    best = weights(*min(product(SCALES, SHARES if all(widths) else (0.0,)), key=loss))
    return torch.cat(
        [torch.full((width,), weight) for width, weight in zip(widths, best, strict=True)]
    ).to(users_NF)
