"""Softmax losses among the items that a user lacks: all of them, or a random sample."""

# I items, B batch, D width, M negatives of a pair, P pairs of a row and an item
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from glta.data.interactions import Interactions
from glta.nn.graph.losses import log_sum_exp


class Candidates:
    """Say which items compete with the positive of each row of a batch.

    They are the items that the row's user lacks in training, as a served list has no others. The
    positive is always one of them.
    train: the training pairs. user, positive: of the rows, (B,).
    sampled: (B, M) items, drawn at random; only those compete, as often as they were drawn. None:
        all items compete.
    """

    def __init__(
        self,
        train: Interactions,
        user: torch.Tensor,
        positive: torch.Tensor,
        sampled: torch.Tensor | None = None,
    ):
        row, item = (torch.from_numpy(ids) for ids in train.rows(user.cpu().numpy()))
        self.positive = positive
        self.sampled = sampled
        self.start = np.searchsorted(row.numpy(), np.arange(len(user) + 1))
        self.row = row.to(user.device)
        self.item = item.to(user.device)

    def __call__(self, scores: torch.Tensor, begin: int) -> None:
        """Change the scores of some rows in place: others than candidates get -inf.

        scores: (rows, I), those of the rows from `begin` on. The log of the number of times that a
        sampled item was drawn is added to its score.
        """
        end = begin + len(scores)
        place = torch.arange(len(scores), device=scores.device)
        positive = self.positive[begin:end]
        own = slice(self.start[begin], self.start[end])
        if self.sampled is None:
            of_positive = scores[place, positive]
            scores[self.row[own] - begin, self.item[own]] = -torch.inf
            scores[place, positive] = of_positive
            return
        drawn = self.sampled[begin:end]
        count = torch.zeros_like(scores).scatter_add_(
            1, drawn, torch.ones_like(drawn, dtype=scores.dtype)
        )
        count[self.row[own] - begin, self.item[own]] = 0
        count[place, positive] = 1
        scores += count.log_()


def candidate_loss(
    row_BD: torch.Tensor,
    item_ID: torch.Tensor,
    candidates: Candidates,
    weight_B: torch.Tensor,
    bias_I: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return sum_b weight_b * (log sum over candidates exp(score) - score of the positive), ().

    The score of an item for a row is row_b . item_i + bias_i. The scores (B, I) are never in memory
    at once (`log_sum_exp`). weight_B and bias_I get no gradient.
    """
    positive = candidates.positive
    towards = (row_BD * F.embedding(positive, item_ID)).sum(1)
    if bias_I is not None:
        towards = towards + bias_I[positive]
    total = log_sum_exp(row_BD, item_ID, weight_B, bias_I, adjust=candidates)
    return total - (weight_B * towards).sum()
