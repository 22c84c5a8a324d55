"""Loss functions of graph models. Losses are in nats."""

# U users, I items, N = U + I nodes, D embedding width, B batch, M candidates
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from glta.nn.graph.propagation import csr, product
from glta.nn.graph.settings import GraphTraining

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Triples: ids of users, positive items and negative items, each (B,). Item ids start at 0."""

Share = Callable[[int], slice]
"""Maps a number of things to the slice of them that this process computes (`Devices.share`).

The losses of all slices add up to the loss of the whole.
"""


def everything(count: int) -> slice:
    """Return the share of a single process: all things."""
    return slice(0, count)


BLOCK = 4096
"""Pairs whose rows are multiplied at once, few enough for the cache of a CPU core."""


class _PairScores(torch.autograd.Function):
    """Compute the dot products of `pair_scores`, with a gradient by one sparse product.

    Autograd would keep every gathered row in memory, and add up their gradients one by one.
    """

    @staticmethod
    def forward(ctx, hidden_ND, left_B, right_B):
        ctx.save_for_backward(hidden_ND, left_B, right_B)
        blocks = zip(left_B.split(BLOCK), right_B.split(BLOCK), strict=True)
        return torch.cat(
            [
                (F.embedding(left, hidden_ND) * F.embedding(right, hidden_ND)).sum(1)
                for left, right in blocks
            ]
        )

    @staticmethod
    def backward(ctx, grad_B):
        hidden_ND, left_B, right_B = ctx.saved_tensors
        num_nodes = len(hidden_ND)
        node, order = torch.cat([left_B, right_B]).int().sort(stable=True)
        start = torch.searchsorted(
            node, torch.arange(num_nodes + 1, dtype=torch.int32, device=node.device), out_int32=True
        )
        other = torch.cat([right_B, left_B]).int()[order]
        weight = grad_B.repeat(2)[order]
        return product(csr(start, other, weight, num_nodes), hidden_ND), None, None


def pair_scores(
    hidden_ND: torch.Tensor, left_B: torch.Tensor, right_B: torch.Tensor
) -> torch.Tensor:
    """Compute the dot products of pairs of nodes: (B,).

    hidden_ND: embeddings. left_B, right_B: the nodes of each pair. The gradient is summed in a
    fixed order, so that it does not depend on the number of threads.
    """
    return _PairScores.apply(hidden_ND, left_B, right_B)


class _SumOfSquares(torch.autograd.Function):
    """Compute `sum_of_squares` from the number of times that each node is named."""

    @staticmethod
    def forward(ctx, table_ND, node_B):
        counted_ND = torch.bincount(node_B, minlength=len(table_ND))[:, None] * table_ND
        ctx.save_for_backward(counted_ND)
        return (counted_ND * table_ND).sum()

    @staticmethod
    def backward(ctx, grad):
        (counted_ND,) = ctx.saved_tensors
        return counted_ND * (2 * grad), None


def sum_of_squares(table_ND: torch.Tensor, node_B: torch.Tensor) -> torch.Tensor:
    """Return the sum of squares of the nodes' rows, (). A node that is named twice counts twice."""
    # gathering takes time for each named node, counting for each row of the table
    if node_B.numel() < len(table_ND):
        return F.embedding(node_B, table_ND).square().sum()
    return _SumOfSquares.apply(table_ND, node_B)


TILE = 2**20
"""Scores that are computed at once, few enough for the cache of a CPU core."""


class _LogSumExp(torch.autograd.Function):
    """Compute `log_sum_exp`, and its gradients in the same pass.

    The result is linear in the gradient that comes from above, so the gradients are known before it
    comes. Published kernels for language models' losses do the same (Hsu et al. 2024, Liger
    Kernel).
    """

    @staticmethod
    def forward(ctx, row_BD, candidate_MD, weight_B, bias_M, adjust):
        of_rows, of_candidates = ctx.needs_input_grad[:2]
        grad_BD = torch.zeros_like(row_BD) if of_rows else None
        grad_MD = torch.zeros_like(candidate_MD) if of_candidates else None
        total = row_BD.new_zeros(())
        num_rows = max(64, TILE // len(candidate_MD))
        buffer = row_BD.new_empty(min(num_rows, len(row_BD)), len(candidate_MD))
        for begin in range(0, len(row_BD), num_rows):
            part = slice(begin, begin + num_rows)
            rows = row_BD[part]
            scores = torch.mm(rows, candidate_MD.T, out=buffer[: len(rows)])
            if bias_M is not None:
                scores += bias_M
            if adjust is not None:
                adjust(scores, begin)
            highest = scores.amax(1, keepdim=True)
            sums = scores.sub_(highest).exp_().sum(1, keepdim=True)
            weight = weight_B[part, None]
            total += (weight * (highest + sums.log())).sum()
            scale = weight / sums
            if grad_BD is not None:
                torch.mm(scores, candidate_MD, out=grad_BD[part]).mul_(scale)
            if grad_MD is not None:
                grad_MD.addmm_(scores.T, rows * scale)
        ctx.save_for_backward(grad_BD, grad_MD)
        return total

    @staticmethod
    def backward(ctx, grad):
        own = (None if of_input is None else of_input * grad for of_input in ctx.saved_tensors)
        return *own, None, None, None


def log_sum_exp(
    row_BD: torch.Tensor,
    candidate_MD: torch.Tensor,
    weight_B: torch.Tensor,
    bias_M: torch.Tensor | None = None,
    adjust: Callable[[torch.Tensor, int], None] | None = None,
) -> torch.Tensor:
    """Return sum_b weight_b * log(sum_m exp(row_b . candidate_m + bias_m)), ().

    The scores (B, M) are never in memory at once: they are computed for some rows, used for the
    value and the gradient, and overwritten. weight_B and bias_M get no gradient.
    adjust: adds constants to the scores of the rows from `begin` on, in place: adjust(scores,
        begin). So rows can have candidates of their own: the others get -inf.
    """
    return _LogSumExp.apply(row_BD, candidate_MD, weight_B, bias_M, adjust)


def share_of_mean(values_B: torch.Tensor, of: int) -> torch.Tensor:
    """Return what a part of the values contributes to the mean of all `of` values.

    values_B: the part, (B,). An empty part contributes 0.
    """
    if not values_B.numel():
        return values_B.sum()
    return values_B.mean() * (values_B.numel() / of)


def bpr_loss(
    positive_B: torch.Tensor, negative_B: torch.Tensor, of: int | None = None
) -> torch.Tensor:
    """Compute the BPR loss: -log sigmoid(positive - negative), averaged (Rendle et al. 2009).

    positive_B, negative_B: scores (B,). of: the size of the whole batch, when these are a part of
    it. Returns nats a pair.
    """
    return share_of_mean(F.softplus(negative_B - positive_B), of or positive_B.numel())


def softmax_loss(
    hidden_ND: torch.Tensor, user_B: torch.Tensor, positive_B: torch.Tensor, num_users: int
) -> torch.Tensor:
    """Return the sum of the cross-entropies of the positives among all items, ().

    A user that occurs several times is scored once, and no more scores are in memory than in
    `log_sum_exp`. user_B, positive_B: ids.
    """
    user, count = user_B.unique(return_counts=True)
    total = log_sum_exp(
        F.embedding(user, hidden_ND), hidden_ND[num_users:], count.to(hidden_ND.dtype)
    )
    return total - pair_scores(hidden_ND, user_B, positive_B + num_users).sum()


def batch_loss(
    hidden_ND: torch.Tensor,
    embedding_ND: torch.Tensor,
    batch: Batch,
    num_users: int,
    params: GraphTraining,
    share: Share = everything,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the loss to minimise, and the ranking loss in it, for one batch.

    bpr: mean softplus(s_un - s_up) + l2 / 2 * (|e_u|^2 + |e_p|^2 + |e_n|^2) / B. The penalty is on
        the *layer-0* embeddings of the batch, as in LightGCN's reference implementation. A penalty
        on propagated embeddings costs accuracy.
    softmax: cross-entropy of the positive among all items, with the same penalty on user and
        positive. The negatives are not used.
    hidden_ND: the embeddings that score. embedding_ND: layer 0. share: of the batch's triples.
    """
    size = batch[0].numel()
    user, positive, negative = (ids[share(size)] for ids in batch)
    nodes = [user, positive + num_users]
    if params.loss == "bpr":
        nodes.append(negative + num_users)
        scores = pair_scores(hidden_ND, torch.cat([user, user]), torch.cat(nodes[1:]))
        of_positives, of_negatives = scores.view(2, user.numel())
        rank_loss = bpr_loss(of_positives, of_negatives, of=size)
    else:
        rank_loss = softmax_loss(hidden_ND, user, positive, num_users) / size
    penalty = sum_of_squares(embedding_ND, torch.cat(nodes)) / (2 * size)
    return rank_loss + params.l2 * penalty, rank_loss


def info_nce(
    anchor_BD: torch.Tensor,
    positive_BD: torch.Tensor,
    candidate_MD: torch.Tensor,
    temperature: float,
    anchor_count_B: torch.Tensor | None = None,
    candidate_count_M: torch.Tensor | None = None,
    share: Share = everything,
) -> torch.Tensor:
    """Compute the InfoNCE loss (van den Oord et al. 2018), averaged over the anchors.

    For an anchor a with its positive p it is -log(exp(cos(a, p) / t) / sum_m exp(cos(a, c_m) / t)),
    where t is the temperature and c_m are the candidates.
    candidate_MD: should contain the positives.
    anchor_count_B, candidate_count_M: how many times each row counts. So a node that occurs several
        times in a batch is computed only once. None counts each row once.
    share: of the anchors. Every anchor has all candidates.
    """
    anchor, positive, candidate = (
        F.normalize(x, dim=1) for x in (anchor_BD, positive_BD, candidate_MD)
    )
    mine = share(len(anchor))
    anchor = anchor[mine]
    positive = positive[mine]
    if anchor_count_B is None:
        anchor_count_B = anchor_BD.new_ones(len(anchor_BD))
    weight = (anchor_count_B / anchor_count_B.sum())[mine].to(anchor.dtype)
    bias = None if candidate_count_M is None else candidate_count_M.to(anchor.dtype).log()
    towards = (weight[:, None] * anchor * positive).sum() / temperature
    return log_sum_exp(anchor / temperature, candidate, weight, bias) - towards
