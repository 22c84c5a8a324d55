"""Score by ridge regression of users on the texts of items, in closed form."""

# U users, I items, J new items, K known items, B users of a block, W language width, R rank of the
# word vectors, F = W + R text features
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from glta.data.histories import history_matrix
from glta.features.profiles import Profiles
from glta.methods.base import Job
from glta.methods.shared.dot_product import PlacedUsers
from glta.methods.shared.text_space import mean_state
from glta.methods.shared.text_words import word_vectors


@dataclass(frozen=True)
class RidgeScores(PlacedUsers):
    """Score by t_i . w_u, where w_u is fitted to the items of the user.

    Let T (K, F) be the text features of the items with training users, and x_u (K,) the 0/1 items
    of a user. Then

        w_u = argmin ||x_u - T w||^2 + l2 m ||w||^2 = (T^T T + l2 m I)^-1 T^T x_u,

    where m is the mean eigenvalue of T^T T, so that l2 means the same for all data.
    user: (U, F), the w_u. item: (I, F), the t_i, also of items without training users.
    inverse: (F, F), of the matrix above. mean: (W,), the centre of the text states. text_map:
    (W, F), maps centred states to text features, for items that are added later. These two are None
    without a language model.
    """

    inverse: np.ndarray
    mean: np.ndarray | None = None
    text_map: np.ndarray | None = None

    @classmethod
    def fitted(cls, job: Job, *, state_share: float, rank: int, l2: float) -> Self:
        """Fit to the training pairs and to what the stage `profile` wrote.

        state_share: of the text features, how much are states of the language model; 0: words
        alone. rank: R at most. l2: see `RidgeScores`.
        """
        train = job.prepared.train
        known = train.item_degree > 0
        profiles = Profiles.load(job.source("profile"), train)
        if state_share == 1:  # words of weight 0 would count as directions of the penalty
            words = np.zeros((len(known), 0), np.float32)
        else:
            words = word_vectors(profiles.items["text"], rank, job.seed)
        words = evened(words - words[known].mean(0), known) * np.float32(1 - state_share) ** 0.5
        mean = text_map = None
        features = words
        if state_share:
            mean = mean_state(profiles.item_states, train)
            states = profiles.item_states - mean
            scale = evened_scale(states, known) * np.float32(state_share) ** 0.5
            features = np.concatenate([scale * states, words], axis=1)
            # the words of an item that is added later are not at hand, so its state predicts them
            to_words = ridge_inverse(states[known], 1.0) @ (states[known].T @ words[known])
            text_map = np.concatenate([scale * np.eye(mean.size), to_words], 1, dtype=np.float32)
        inverse = ridge_inverse(features[known], l2)
        empty = np.zeros((0, features.shape[1]), np.float32)
        scorer = cls(empty, features.astype(np.float32), inverse, mean, text_map)
        return replace(scorer, user=scorer.placed(history_matrix(train)))

    @property
    def by_text(self) -> bool:
        return True

    def as_new(self, items_N: np.ndarray) -> Self:
        """Score known items by weights that were fitted without them.

        Fitted without item j, t_j . w_u of a user who does not have it is 1 / (1 - h_j) times as
        large, with h_j = t_j . (T^T T + l2 m I)^-1 t_j (leave-one-out, with the same m).
        """
        rows = self.item[items_N]
        shares = np.einsum("nf,nf->n", rows @ self.inverse, rows)
        item = self.item.copy()
        item[items_N] = rows / (1 - shares)[:, None]
        return replace(self, item=item)

    def placed(self, history_BI: csr_array) -> np.ndarray:
        return (history_BI @ self.item @ self.inverse).astype(np.float32)

    def extended(self, text_JW: np.ndarray) -> Self:
        if self.text_map is None or self.mean is None:
            raise ValueError(
                f"{type(self).__name__} needs the words of an item to score it, and gets its text "
                "state alone: it cannot take new items"
            )
        added = (text_JW - self.mean) @ self.text_map
        return replace(self, item=np.concatenate([self.item, added]))

    @property
    def trainable_parameters(self) -> int:
        return self.user.size  # the items are what their texts say


def evened_scale(rows_IF: np.ndarray, known: np.ndarray) -> np.float32:
    """Return the factor that gives rows of known items a mean length of 1; 1 if all are 0."""
    length = float(np.linalg.norm(rows_IF[known], axis=1).mean())
    return np.float32(1 / length if length else 1)


def evened(rows_IF: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Scale rows so that those of known items have a mean length of 1."""
    return rows_IF * evened_scale(rows_IF, known)


def ridge_inverse(rows_KF: np.ndarray, l2: float) -> np.ndarray:
    """Return (T^T T + l2 m I)^-1, (F, F) float32, with m the mean eigenvalue of T^T T.

    The identity is returned when all rows are 0.
    """
    gram = rows_KF.T.astype(np.float64) @ rows_KF
    eye = np.eye(len(gram))
    level = np.trace(gram) / len(gram)
    if not level:
        return eye.astype(np.float32)
    return cho_solve(cho_factor(gram + l2 * level * eye), eye).astype(np.float32)
