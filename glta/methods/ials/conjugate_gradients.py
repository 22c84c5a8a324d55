"""Solve for the embeddings of one side of iALS by a few steps of conjugate gradients."""

# R rows of the side to solve for, C rows of the other side, D embedding width, B rows of a block,
# P observed pairs of a block
from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array
from torch.sparse import sampled_addmm

from glta.methods.ials.spec import IALSSettings
from glta.nn.graph.propagation import csr, product

BLOCK_NUMBERS = 2**20
"""Numbers in the embeddings of the pairs of a block: 4 MB, which stay in the processor's cache."""

TINY = 1e-30
"""The smallest divisor. A solved row, whose residual is 0, stays as it is."""


class Rows:
    """Solve for the embeddings of users, given those of items, or the other way round.

    The embedding x of a row with n observed pairs, whose embeddings are the rows of Y, solves
    (Y^T Y + a V^T V + l2 (n + a C)^p Id) x = Y^T 1, where V (C, D) holds the embeddings of the
    other side, a is unobserved_weight and p is frequency_power (Rendle et al., arXiv 2110.14037,
    eq. 6 to 8).

    Each row takes `solver_steps` steps of conjugate gradients from its last value (Takacs et al.,
    RecSys 2011). Both sides are first turned into the eigenbasis of V^T V. No score changes by it.
    There, a V^T V and the penalty are diagonal, so that a step needs no product of width x width
    for each row. This diagonal is also the preconditioner.
    """

    def __init__(self, pairs_RC: csr_array, settings: IALSSettings):
        self.settings = settings
        count = np.diff(pairs_RC.indptr)
        base = count + settings.unobserved_weight * pairs_RC.shape[1]
        penalty = settings.l2 * base**settings.frequency_power
        self.penalty_R1 = torch.from_numpy(penalty.astype(np.float32))[:, None]
        self.known_R1 = torch.from_numpy(count > 0)[:, None]
        self.blocks = blocks_of(pairs_RC, max(1, BLOCK_NUMBERS // settings.embedding_dim))

    def solve(self, own_RD: torch.Tensor, other_CD: torch.Tensor) -> None:
        """Move the own embeddings towards the solution, in place. Rows without pairs become 0.

        The embeddings of the other side are turned in place.
        """
        eigenvalues_D, basis_DD = torch.linalg.eigh((other_CD.T @ other_CD).double())
        # rounding may leave an eigenvalue slightly below 0
        gram_D = self.settings.unobserved_weight * eigenvalues_D.clamp_min(0).float()
        for embedding in (own_RD, other_CD):
            embedding.copy_(embedding @ basis_DD.float())
        own_RD *= self.known_R1
        for rows, pairs_BC in self.blocks:
            diagonal_BD = gram_D + self.penalty_R1[rows]
            improve(own_RD[rows], pairs_BC, other_CD, diagonal_BD, self.settings.solver_steps)


def blocks_of(pairs_RC: csr_array, most: int) -> list[tuple[slice, torch.Tensor]]:
    """Cut rows into blocks of at most `most` pairs. A row with more pairs is a block of its own.

    Returns the rows of each block with its pairs, a sparse CSR tensor (B, C) of ones.
    """
    indptr = pairs_RC.indptr.astype(np.int64)
    indices = torch.from_numpy(pairs_RC.indices.astype(np.int64))
    blocks = []
    start = 0
    while start < pairs_RC.shape[0]:
        end = int(np.searchsorted(indptr, indptr[start] + most, side="right")) - 1
        end = max(end, start + 1)
        pairs_P = indices[indptr[start] : indptr[end]]
        if len(pairs_P):
            starts = torch.from_numpy(indptr[start : end + 1] - indptr[start])
            pairs_BC = csr(starts, pairs_P, torch.ones(len(pairs_P)), pairs_RC.shape[1])
            blocks.append((slice(start, end), pairs_BC))
        start = end
    return blocks


def improve(
    x_BD: torch.Tensor,
    pairs_BC: torch.Tensor,
    other_CD: torch.Tensor,
    diagonal_BD: torch.Tensor,
    steps: int,
) -> None:
    """Take steps of preconditioned conjugate gradients for every row of a block, in place.

    The matrix of a row is Y^T Y + its row of diagonal_BD, and its right side is Y^T 1.
    """

    def gram(x_BD: torch.Tensor, *, ones: float, sign: float) -> torch.Tensor:
        """Return Y^T (ones 1 + sign Y x) for every row: (B, D)."""
        scores_BC = sampled_addmm(pairs_BC, x_BD, other_CD.T, beta=ones, alpha=sign)
        return product(scores_BC, other_CD)

    residual_BD = gram(x_BD, ones=1, sign=-1).addcmul_(diagonal_BD, x_BD, value=-1)
    direction_BD = torch.zeros_like(x_BD)
    before_B1 = torch.full((len(x_BD), 1), torch.inf)
    for _ in range(steps):
        scaled_BD = residual_BD / diagonal_BD
        size_B1 = dots(residual_BD, scaled_BD)
        direction_BD = scaled_BD.addcmul_(size_B1 / before_B1.clamp_min(TINY), direction_BD)
        moved_BD = gram(direction_BD, ones=0, sign=1).addcmul_(diagonal_BD, direction_BD)
        length_B1 = size_B1 / dots(direction_BD, moved_BD).clamp_min(TINY)
        x_BD.addcmul_(length_B1, direction_BD)
        residual_BD.addcmul_(length_B1, moved_BD, value=-1)
        before_B1 = size_B1


def dots(left_BD: torch.Tensor, right_BD: torch.Tensor) -> torch.Tensor:
    """Return the dot product of each row: (B, 1)."""
    return torch.linalg.vecdot(left_BD, right_BD)[:, None]
