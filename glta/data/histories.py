"""What item-to-item methods share: the training items of every user as a sparse matrix, kept with
the model.
"""

# U users, I items, B users of a block
from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from glta.data.interactions import Interactions


def history_matrix(train: Interactions) -> csr_array:
    """Make the 0/1 matrix of training pairs, (U, I) float32."""
    ones = np.ones(len(train), np.float32)
    return csr_array((ones, train.item, train.indptr), shape=(train.num_users, train.num_items))


def checked(history_BI: csr_array, num_items: int) -> csr_array:
    """Return histories as they are. Raises ValueError unless they are about the model's items."""
    if history_BI.shape[1] != num_items:
        raise ValueError(f"histories over {history_BI.shape[1]} items: this model has {num_items}")
    return history_BI


def fold_in(history_BI: csr_array, message_ID: np.ndarray) -> np.ndarray:
    """Place people in LightGCN's space by their items: the sum of the items' messages over
    sqrt(number of items), (B, D).

    message_ID: see `glta.nn.graph.node_embeddings.LightGCN.messages`. Nobody's own layer 0 is part
    of it. Zeros without an item.
    """
    count_B = np.maximum(np.asarray(history_BI.sum(1)), 1)
    return ((history_BI @ message_ID) / np.sqrt(count_B)[:, None]).astype(np.float32)


def known_users(users: np.ndarray, num_users: int) -> np.ndarray:
    """Return the ids as int64.

    Raises ValueError for an id outside 0..num_users-1; numpy would read -1 as the last user.
    """
    users = np.asarray(users, np.int64)
    if users.size and (users.min() < 0 or users.max() >= num_users):
        wrong = int(users[(users < 0) | (users >= num_users)][0])
        raise ValueError(f"unknown user {wrong}: this model knows users 0..{num_users - 1}")
    return users
