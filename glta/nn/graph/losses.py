"""The loss terms that graph models are made of; each maps embeddings to nats."""

# U users, I items, N = U + I nodes, D embedding width, B batch, M candidates
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from glta.nn.graph.propagation import csr, product
from glta.nn.graph.settings import GraphTraining

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""User, positive and negative ids, each (B,); items count from 0."""

Share = Callable[[int], slice]
"""Maps a number of things to the part of them that is computed here (`Devices.share`). Losses of
all parts add up to the loss of the whole.
"""


def everything(count: int) -> slice:
    """Be the share of a process that works alone."""
    return slice(0, count)


BLOCK = 4096  # pairs whose rows are multiplied at once: they stay in a core's cache


class _PairScores(torch.autograd.Function):
    """Autograd keeps every gathered row and adds their gradients up one by one; here they are one
    sparse product.
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
        other, weight = torch.cat([right_B, left_B]).int()[order], grad_B.repeat(2)[order]
        return product(csr(start, other, weight, num_nodes), hidden_ND), None, None


def pair_scores(
    hidden_ND: torch.Tensor, left_B: torch.Tensor, right_B: torch.Tensor
) -> torch.Tensor:
    """Multiply the rows of pairs of nodes: (B,).

    The gradient adds up in one fixed order, whatever the number of threads.
    """
    return _PairScores.apply(hidden_ND, left_B, right_B)


class _SumOfSquares(torch.autograd.Function):
    """Multiply each row by how often it is meant, instead of gathering it so often."""

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
    """Add up the squares of the rows of nodes, (); a node that is named twice counts twice."""
    if node_B.numel() < len(table_ND):  # gathering costs the number of nodes, counting that of rows
        return F.embedding(node_B, table_ND).square().sum()
    return _SumOfSquares.apply(table_ND, node_B)


def share_of_mean(values_B: torch.Tensor, of: int) -> torch.Tensor:
    """Compute what some of `of` values add to the mean of all of them. No values add 0."""
    if not values_B.numel():
        return values_B.sum()
    return values_B.mean() * (values_B.numel() / of)


def bpr_loss(
    positive_B: torch.Tensor, negative_B: torch.Tensor, of: int | None = None
) -> torch.Tensor:
    """Average -log sigmoid(positive - negative) over the batch (Rendle et al. 2009).

    Scores (B,). of: the size of the whole batch where these are a part of it. Returns nats a pair.
    """
    return share_of_mean(F.softplus(negative_B - positive_B), of or positive_B.numel())


def batch_loss(
    hidden_ND: torch.Tensor,
    embedding_ND: torch.Tensor,
    batch: Batch,
    num_users: int,
    params: GraphTraining,
    share: Share = everything,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute (loss to minimise, ranking part of it) for one batch; hidden_ND scores, embedding_ND
    is layer 0.

    BPR: mean softplus(s_un - s_up) + l2 / 2 * (|e_u|^2 + |e_p|^2 + |e_n|^2) / B on the batch's
    *layer-0* rows, as in LightGCN's reference implementation; regularising propagated rows costs
    accuracy. Softmax: cross-entropy of the positive against the whole catalogue, the negatives
    unused, the same penalty over user and positive. share: of the batch's triples.
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
        logits = F.embedding(user, hidden_ND) @ hidden_ND[num_users:].T
        reduction = "mean" if user.numel() else "sum"  # the mean of nothing is not a number
        rank_loss = F.cross_entropy(logits, positive, reduction=reduction) * (user.numel() / size)
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
    """Average -log( exp(cos(a, p) / t) / sum_m exp(cos(a, c_m) / t) ) over the anchors (InfoNCE,
    van den Oord et al. 2018).

    candidate_MD: what the positive is told from; it should hold the positives themselves. Counts
    say how often a row stands for itself, so that what occurs again and again in a batch is
    computed once. share: of the anchors; each of them is told from all candidates.
    """
    anchor, positive, candidate = (
        F.normalize(x, dim=1) for x in (anchor_BD, positive_BD, candidate_MD)
    )
    mine = share(len(anchor))
    anchor, positive = anchor[mine], positive[mine]
    logits_BM = anchor @ candidate.T / temperature
    if candidate_count_M is not None:
        logits_BM = logits_BM + candidate_count_M.log()
    loss_B = logits_BM.logsumexp(1) - (anchor * positive).sum(1) / temperature
    if anchor_count_B is None:
        return share_of_mean(loss_B, len(anchor_BD))
    return (loss_B * anchor_count_B[mine]).sum() / anchor_count_B.sum()
