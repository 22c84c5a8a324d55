"""iALS: matrix factorisation of all user-item pairs by alternating least squares."""

# U users, I items, D embedding width, B users of a block
from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked
from glta.methods.base import Job, Step
from glta.methods.ials.spec import IALSSettings
from glta.methods.shared.trained import TrainedEmbeddings


def solve_users(
    history_BI: csr_array,
    item_ID: np.ndarray,
    *,
    unobserved_weight: float,
    l2: float,
    frequency_power: float,
) -> np.ndarray:
    """Solve for the embeddings of users, given those of the items: (B, D) float32.

    The embedding x of a user with n items, whose embeddings are the rows of Y, solves
    (Y^T Y + a V^T V + l2 (n + a I)^p Id) x = Y^T 1, where V is item_ID, a is unobserved_weight and
    p is frequency_power (Rendle et al., arXiv 2110.14037, eq. 6 to 8). It is zeros without items.
    """
    item = item_ID.astype(np.float64)
    num_items, width = item.shape
    gram = unobserved_weight * (item.T @ item)
    users = np.zeros((history_BI.shape[0], width), np.float32)
    for row, (start, end) in enumerate(
        zip(history_BI.indptr[:-1], history_BI.indptr[1:], strict=True)
    ):
        own = item[history_BI.indices[start:end]]
        if len(own):
            penalty = l2 * (len(own) + unobserved_weight * num_items) ** frequency_power
            users[row] = np.linalg.solve(own.T @ own + gram + penalty * np.eye(width), own.sum(0))
    return users


@dataclass(frozen=True)
class IALS(TrainedEmbeddings):
    """Score by the embeddings of iALS. New users are solved for, given the item embeddings.

    objective: (3,) float64, the unobserved weight, l2 and the power of the frequency.
    """

    name = "ials"
    _: KW_ONLY
    objective: np.ndarray

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        unobserved_weight, l2, frequency_power = self.objective
        users = solve_users(
            checked(history_BI, len(self.item)),
            self.item,
            unobserved_weight=unobserved_weight,
            l2=l2,
            frequency_power=frequency_power,
        )
        return users @ self.item.T


class TrainIALS(Step):
    """Train by alternating least squares, and stop early by validation NDCG@20."""

    def run(self, job: Job) -> IALS:
        # imported here, so that loading and scoring do without torch and the solver
        from glta.evaluation.validation import embeddings_ndcg
        from glta.methods.ials.alternation import Alternation
        from glta.training.trainer import train

        settings = job.own(IALSSettings)
        task = Alternation(
            job.prepared.train, settings, job.seed, evaluate=embeddings_ndcg(job.prepared)
        )
        trained = train(
            task,
            epochs=settings.epochs,
            patience=settings.patience,
            checkpoint=job.checkpoint,
            on_epoch=job.on_epoch,
        )
        user, item = task.embeddings()
        objective = [settings.unobserved_weight, settings.l2, settings.frequency_power]
        return IALS(
            user,
            item,
            user.size + item.size,
            trained.best_epoch,
            trained.history,
            objective=np.array(objective),
        )
