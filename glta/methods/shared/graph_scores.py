"""Score by propagated node embeddings."""

# U users, I items, D embedding width, B users of a block
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked, fold_in
from glta.data.interactions import Interactions
from glta.methods.shared.dot_product import DotProduct


@dataclass(frozen=True)
class GraphScores(DotProduct):
    """Score by the dot product of propagated embeddings.

    user: (U, D) float32. item: (I, D) float32. message: (I, D) float32, what each item contributes
    to the embedding of a user without a node (`fold_in`).
    """

    message: np.ndarray

    @classmethod
    def of(cls, folder: Path, train: Interactions) -> Self:
        """Read node embeddings from a folder, and propagate them over all training edges.

        Raises ValueError when they were trained on other users or items.
        """
        # it imports torch, which scoring does without
        from glta.nn.graph.node_embeddings import NodeEmbeddings

        model = NodeEmbeddings.load(folder)
        if (len(model.user), len(model.item)) != (train.num_users, train.num_items):
            raise ValueError(
                f"{folder}: made for other users or items than the prepared data; run the stage "
                f"{folder.name} again"
            )
        user, item = model.propagated(train)
        return cls(user, item, model.messages(train))

    def widened(self, item_JD: np.ndarray) -> Self:
        """Return the scorer with the embeddings of J new items at the end. Nobody has them."""
        return replace(
            self,
            item=np.concatenate([self.item, item_JD]),
            message=np.pad(self.message, [(0, len(item_JD)), (0, 0)]),
        )

    def with_unknown(self, num: int) -> Self:
        return self.widened(np.zeros((num, self.item.shape[1]), np.float32))

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        return fold_in(checked(history_BI, len(self.item)), self.message) @ self.item.T
