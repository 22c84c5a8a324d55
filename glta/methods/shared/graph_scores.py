"""Scores of propagated node embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked, fold_in
from glta.methods.base import Inputs
from glta.methods.shared.dot_product import DotProduct
from glta.params.model import Params


@dataclass(frozen=True)
class GraphScores(DotProduct):
    """Score by the dot product of propagated embeddings. user (U, D), item (I, D): float32.

    message (I, D): what a user receives from an item, by which people without a node are placed
    (`fold_in`).
    """

    name = "lightgcn"
    message: np.ndarray

    @classmethod
    def fit(cls, inputs: Inputs, params: Params, seed: int) -> Self:
        from glta.nn.graph.node_embeddings import NodeEmbeddings

        model, train = NodeEmbeddings.load(inputs.pretrained), inputs.prepared.train
        if (len(model.user), len(model.item)) != (train.num_users, train.num_items):
            raise ValueError(
                f"{inputs.pretrained / 'model.safetensors'}: made for other users or "
                "items than the prepared data; run the stage pretrain again"
            )
        return cls(*model.propagated(train), model.messages(train))

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        return fold_in(checked(history_BI, len(self.item)), self.message) @ self.item.T
