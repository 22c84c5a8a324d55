"""GF-CF: score by a linear filter of the item-item graph plus an ideal low-pass filter."""

# U users, I items, U' training users, K singular vectors, B users of a block
from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array, diags_array

from glta.data.histories import checked, history_matrix, known_users, recent_matrix
from glta.data.sequences import Sequences
from glta.methods.base import Job, Step
from glta.methods.gf_cf.spec import GFCFSettings
from glta.methods.shared.component import Component
from glta.storage.arrays import sparse_arrays, sparse_from

OVERSAMPLES = 32
POWER_ITERATIONS = 8
"""Of the randomised SVD. The spectrum falls slowly, so that few of them mix the last vectors."""


def normalized(history_UI: csr_array) -> csr_array:
    """Divide each pair by sqrt(items of the user x users of the item): (U, I) float32."""
    user, item = (np.asarray(history_UI.sum(axis), np.float64) for axis in (1, 0))
    scale_U, scale_I = (1 / np.sqrt(np.maximum(degree, 1)) for degree in (user, item))
    return csr_array(diags_array(scale_U) @ history_UI @ diags_array(scale_I)).astype(np.float32)


def low_pass(history_UI: csr_array, rank: int, seed: int) -> np.ndarray:
    """Compute the item side of the top singular vectors of the normalised matrix: (I, K) float32.

    K is `rank`, or less where the matrix has fewer singular values above 0. The SVD is randomised
    (Halko et al., SIAM Review 2011); equal seeds give equal vectors.
    """
    from sklearn.utils.extmath import randomized_svd

    _, value, vectors = randomized_svd(
        normalized(history_UI),
        min(rank, *history_UI.shape),
        n_oversamples=OVERSAMPLES,
        n_iter=POWER_ITERATIONS,
        power_iteration_normalizer="QR",
        random_state=seed,
    )
    return vectors[value > 1e-5 * value.max(initial=0)].T.astype(np.float32)


@dataclass(frozen=True)
class GFCF(Component):
    """Score a user's row x of the history by x (N^T N + alpha D^-1/2 V V^T D^1/2).

    N is the training pairs normalised by degrees, D holds the numbers of users of the items, and V
    the top right singular vectors of N (Shen et al., CIKM 2021, section 4.2). No item-item matrix
    is made.
    history: (U, I), 1 for the items that users are scored by. train: (U', I), 1 for the training
    pairs. vectors: V (I, K) float32. alpha: () float32.
    """

    name = "gf-cf"
    history: csr_array
    train: csr_array
    vectors: np.ndarray
    alpha: np.ndarray

    @cached_property
    def graph(self) -> csr_array:
        """N (U', I)."""
        return normalized(self.train)

    @cached_property
    def graph_transposed(self) -> csr_array:
        """N^T (I, U')."""
        return self.graph.T.tocsr()

    @cached_property
    def root_degree(self) -> np.ndarray:
        """(I,) float32: the square roots of the numbers of users of the items."""
        return np.sqrt(np.asarray(self.train.sum(0))).astype(np.float32)

    def score(self, users: np.ndarray) -> np.ndarray:
        return self.score_histories(self.history[known_users(users, self.history.shape[0])])

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        history = checked(history_BI, len(self.vectors)).astype(np.float32)
        linear = (history @ self.graph_transposed @ self.graph).toarray()
        # an item without users has no part in any vector, whatever its scale
        into = self.vectors / np.maximum(self.root_degree, 1)[:, None]
        low = (history @ into) @ self.vectors.T
        low *= self.alpha * self.root_degree
        return linear + low

    def with_histories(self, histories: Sequences) -> Self:
        return replace(self, history=recent_matrix(histories, decay=1))

    @property
    def trainable_parameters(self) -> int:
        return 0

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {"vectors": self.vectors, "alpha": self.alpha}
        if self.history is not self.train:
            arrays |= sparse_arrays("history", self.history)
        return arrays | sparse_arrays("train", self.train)

    @classmethod
    def rebuilt(cls, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Self:
        train = sparse_from("train", arrays)
        other = any(name.startswith("history.") for name in arrays)
        history = sparse_from("history", arrays) if other else train
        return cls(history, train, arrays["vectors"], arrays["alpha"])


class FilterGraph(Step):
    """Compute the singular vectors. Nothing is trained."""

    def run(self, job: Job) -> GFCF:
        settings = job.own(GFCFSettings)
        history = history_matrix(job.prepared.train)
        vectors = low_pass(history, settings.rank, job.seed)
        return GFCF(history, history, vectors, np.array(settings.alpha, np.float32))
