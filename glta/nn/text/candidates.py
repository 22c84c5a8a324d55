"""Softmax losses among the items that a user lacks: all of them, or a random sample."""

# I items, B batch, D width, M negatives of a pair, P pairs of a row and an item
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from glta.data.interactions import Interactions
from glta.nn.graph.losses import BLOCK, TILE, log_sum_exp
from glta.nn.graph.propagation import csr, product

FEW = 50
"""A sample is gathered where the items are more than so many times its size.

Below, one matrix product for all items can be faster: it was for vectors of 1024 numbers, at half
of this ratio. At this ratio it was slower or equal for 64 to 4096 numbers, on a CPU.
"""


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
        self.num_items = train.num_items

    @property
    def few(self) -> bool:
        """Whether it takes less time to gather the sample than to score all items."""
        return self.sampled is not None and self.num_items > FEW * self.sampled.shape[1]

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

    def gathered(self, sampled: torch.Tensor, begin: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the items that are scored for some rows, and whether each is no candidate.

        sampled: those of the rows from `begin` on, (rows, M). The result is (rows, M + 1) twice:
        the positive stands first, then the sample. The positive counts once, however often it was
        drawn.
        """
        end = begin + len(sampled)
        positive = self.positive[begin:end, None]
        own = slice(self.start[begin], self.start[end])
        # the pairs ascend by row, then item
        key = (self.row[own] - begin) * self.num_items + self.item[own]
        row = torch.arange(len(sampled), device=sampled.device)[:, None]
        wanted = row * self.num_items + sampled
        place = torch.searchsorted(key, wanted).clamp_(max=max(len(key) - 1, 0))
        out = sampled == positive
        if len(key):
            out |= key[place] == wanted
        return torch.cat([positive, sampled], 1), F.pad(out, (1, 0))


class _GatheredLogSumExp(torch.autograd.Function):
    """Compute the `log_sum_exp` of gathered candidates, and its gradients in the same pass.

    The gradients are products with sparse matrices, which sum in a fixed order.
    """

    @staticmethod
    def forward(ctx, row_BD, item_ID, weight_B, candidates, bias_I):
        of_rows, of_items = ctx.needs_input_grad[:2]
        grad_BD = torch.zeros_like(row_BD) if of_rows else None
        grad_ID = torch.zeros_like(item_ID) if of_items else None
        total = row_BD.new_zeros(())
        width = candidates.sampled.shape[1] + 1
        num_rows = max(1, TILE // width)
        for begin in range(0, len(row_BD), num_rows):
            part = slice(begin, begin + num_rows)
            rows = row_BD[part]
            item, out = candidates.gathered(candidates.sampled[part], begin)
            scores = _scores(rows, item_ID, item)
            if bias_I is not None:
                scores += bias_I[item]
            scores.masked_fill_(out, -torch.inf)
            highest = scores.amax(1, keepdim=True)
            sums = scores.sub_(highest).exp_().sum(1, keepdim=True)
            weight = weight_B[part, None]
            total += (weight * (highest + sums.log())).sum()
            value = scores.mul_(weight / sums).flatten()
            item = item.flatten()
            if grad_BD is not None:
                start = torch.arange(0, len(item) + 1, width, device=item.device)
                grad_BD[part] = product(csr(start, item, value, len(item_ID)), item_ID)
            if grad_ID is not None:
                by_item, order = item.int().sort(stable=True)
                ids = torch.arange(len(item_ID) + 1, dtype=torch.int32, device=item.device)
                start = torch.searchsorted(by_item, ids, out_int32=True)
                row = (order // width).int()
                grad_ID += product(csr(start, row, value[order], len(rows)), rows)
        ctx.save_for_backward(grad_BD, grad_ID)
        return total

    @staticmethod
    def backward(ctx, grad):
        own = (None if of_input is None else of_input * grad for of_input in ctx.saved_tensors)
        return *own, None, None, None


def _scores(row_BD: torch.Tensor, item_ID: torch.Tensor, item_BM: torch.Tensor) -> torch.Tensor:
    """Compute the dot products of rows with their own items, (B, M), a few rows at a time."""
    num_rows = max(1, BLOCK // item_BM.shape[1])
    parts = zip(row_BD.split(num_rows), item_BM.split(num_rows), strict=True)
    scores = [torch.bmm(F.embedding(item, item_ID), rows[..., None]) for rows, item in parts]
    return torch.cat(scores)[..., 0]


def candidate_loss(
    row_BD: torch.Tensor,
    item_ID: torch.Tensor,
    candidates: Candidates,
    weight_B: torch.Tensor,
    bias_I: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return sum_b weight_b * (log sum over candidates exp(score) - score of the positive), ().

    The score of an item for a row is row_b . item_i + bias_i. The scores (B, I) are never in memory
    at once (`log_sum_exp`). Of a small sample, only its own scores are computed. weight_B and
    bias_I get no gradient.
    """
    positive = candidates.positive
    towards = (row_BD * F.embedding(positive, item_ID)).sum(1)
    if bias_I is not None:
        towards = towards + bias_I[positive]
    if candidates.few:
        total = _GatheredLogSumExp.apply(row_BD, item_ID, weight_B, candidates, bias_I)
    else:
        total = log_sum_exp(row_BD, item_ID, weight_B, bias_I, adjust=candidates)
    return total - (weight_B * towards).sum()
