"""Score by ridge regression of users on the texts of items, in closed form."""

# U users, I items, J new items, K known items, B users of a block, W language width, R rank of the
# word vectors, F = W + R text features
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import history_matrix
from glta.methods.base import Job
from glta.methods.shared.dot_product import PlacedUsers
from glta.methods.shared.text_features import TextFeatures, mapped_states, ridge_inverse


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

        state_share, rank: see `TextFeatures.of`. l2: see `RidgeScores`.
        """
        train = job.prepared.train
        features = TextFeatures.of(job, state_share=state_share, rank=rank)
        inverse = ridge_inverse(features.item[train.item_degree > 0], l2)
        empty = np.zeros((0, features.item.shape[1]), np.float32)
        scorer = cls(empty, features.item, inverse, features.mean, features.text_map)
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
        added = mapped_states(text_JW, self.mean, self.text_map, type(self).__name__)
        return replace(self, item=np.concatenate([self.item, added]))

    @property
    def trainable_parameters(self) -> int:
        return self.user.size  # the items are what their texts say
