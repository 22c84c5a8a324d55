"""The loss terms that graph models are made of; each maps embeddings to nats."""

# U users, I items, N = U + I nodes, D embedding width, B batch, M candidates
from __future__ import annotations

import torch
import torch.nn.functional as F

from glta.params import Training

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""User, positive and negative ids, each (B,); items count from 0."""


def bpr_loss(positive_B: torch.Tensor, negative_B: torch.Tensor) -> torch.Tensor:
    """Average -log sigmoid(positive - negative) over the batch (Rendle et al. 2009). Scores (B,); returns nats a pair."""
    return F.softplus(negative_B - positive_B).mean()


def batch_loss(
    hidden_ND: torch.Tensor, embedding_ND: torch.Tensor, batch: Batch, num_users: int, params: Training
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute (loss to minimise, ranking part of it) for one batch; hidden_ND scores, embedding_ND is layer 0.

    BPR: mean softplus(s_un - s_up) + l2 / 2 * (|e_u|^2 + |e_p|^2 + |e_n|^2) / B on the batch's *layer-0* rows, as in
    LightGCN's reference implementation; regularising propagated rows costs accuracy. Softmax: cross-entropy of the
    positive against the whole catalogue, the negatives unused, the same penalty over user and positive.
    """
    user, positive, negative = batch
    used = [user, positive + num_users] + ([negative + num_users] if params.loss == "bpr" else [])
    nodes = torch.cat(used)
    # one gather each: F.embedding's backward is deterministic on CPU, index_put's is not
    hidden = F.embedding(nodes, hidden_ND).split(user.numel())
    if params.loss == "bpr":
        rank_loss = bpr_loss((hidden[0] * hidden[1]).sum(1), (hidden[0] * hidden[2]).sum(1))
    else:
        rank_loss = F.cross_entropy(hidden[0] @ hidden_ND[num_users:].T, positive)
    penalty = F.embedding(nodes, embedding_ND).square().sum() / (2 * user.numel())
    return rank_loss + params.l2 * penalty, rank_loss


def info_nce(
    anchor_BD: torch.Tensor,
    positive_BD: torch.Tensor,
    candidate_MD: torch.Tensor,
    temperature: float,
    anchor_count_B: torch.Tensor | None = None,
    candidate_count_M: torch.Tensor | None = None,
) -> torch.Tensor:
    """Average -log( exp(cos(a, p) / t) / sum_m exp(cos(a, c_m) / t) ) over the anchors (InfoNCE, van den Oord et al. 2018).

    candidate_MD: what the positive is told from; it should hold the positives themselves. Counts say how often a row
    stands for itself, so that what occurs again and again in a batch is computed once.
    """
    anchor, positive, candidate = (F.normalize(x, dim=1) for x in (anchor_BD, positive_BD, candidate_MD))
    logits_BM = anchor @ candidate.T / temperature
    if candidate_count_M is not None:
        logits_BM = logits_BM + candidate_count_M.log()
    loss_B = logits_BM.logsumexp(1) - (anchor * positive).sum(1) / temperature
    return loss_B.mean() if anchor_count_B is None else (loss_B * anchor_count_B).sum() / anchor_count_B.sum()
