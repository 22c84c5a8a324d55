"""Scores of propagated node embeddings."""

# U users, I items, D embedding width, B users of a block
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked, fold_in
from glta.data.interactions import Interactions
from glta.methods.shared.dot_product import DotProduct


@dataclass(frozen=True)
class GraphScores(DotProduct):
    """Score by the dot product of propagated embeddings. user (U, D), item (I, D): float32.

    message (I, D): what a user receives from an item. People without a node are placed by it
    (`fold_in`).
    """

    message: np.ndarray

    @classmethod
    def of(cls, folder: Path, train: Interactions) -> Self:
        """Propagate the node embeddings of a folder over all training edges.

        Raises ValueError when they were trained on other users or items.
        """
        from glta.nn.graph.node_embeddings import NodeEmbeddings  # imports torch; scoring does not

        model = NodeEmbeddings.load(folder)
        if (len(model.user), len(model.item)) != (train.num_users, train.num_items):
            raise ValueError(
                f"{folder}: made for other users or items than the prepared data; run the stage "
                f"{folder.name} again"
            )
        user, item = model.propagated(train)
        return cls(user, item, model.messages(train))

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        return fold_in(checked(history_BI, len(self.item)), self.message) @ self.item.T
