"""The items of every user as a sparse matrix, and what methods compute from it."""

# U users, I items, B users of a block
from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from glta.data.interactions import Interactions
from glta.data.sequences import Sequences


def history_matrix(train: Interactions) -> csr_array:
    """Make the 0/1 matrix of training pairs, (U, I) float32."""
    ones = np.ones(len(train), np.float32)
    return csr_array((ones, train.item, train.indptr), shape=(train.num_users, train.num_items))


def recent_matrix(histories: Sequences, decay: float) -> csr_array:
    """Weigh each user's items by decay^age: a sparse (U, I) float32 matrix. See `Sequences.age`.

    decay: 0 <= decay <= 1; 1 gives the 0/1 matrix of `history_matrix`, 0 keeps the newest item.
    """
    weight = np.power(decay, histories.age, dtype=np.float32)
    shape = (histories.num_users, histories.num_items)
    # a copy, because sorting would change the histories themselves
    matrix = csr_array((weight, histories.item, histories.indptr), shape=shape, copy=True)
    matrix.sort_indices()
    matrix.eliminate_zeros()
    return matrix


def checked(history_BI: csr_array, num_items: int) -> csr_array:
    """Return the histories unchanged.

    Raises ValueError when they have another number of items than the model.
    """
    if history_BI.shape[1] != num_items:
        raise ValueError(
            f"histories over {history_BI.shape[1]} items: this model has {num_items} items; give "
            "histories over the items of the dataset that it was trained on"
        )
    return history_BI


def fold_in(history_BI: csr_array, message_ID: np.ndarray) -> np.ndarray:
    """Compute user embeddings in LightGCN's space from the users' items alone: (B, D) float32.

    A user's embedding is the sum of their items' messages, divided by sqrt(number of items). It
    contains no layer-0 embedding of the user. It is zeros for a user without items.
    message_ID: see `glta.nn.graph.node_embeddings.NodeEmbeddings.messages`.
    """
    count_B = np.maximum(np.asarray(history_BI.sum(1)), 1)
    return ((history_BI @ message_ID) / np.sqrt(count_B)[:, None]).astype(np.float32)


def mean_of_items(history_BI: csr_array, states_IW: np.ndarray) -> np.ndarray:
    """Average the rows of the users' items: (B, W) float32. It is zeros for a user without items.

    states_IW: a row an item.
    """
    count_B = np.maximum(np.asarray(history_BI.sum(1)), 1)
    return ((history_BI @ states_IW) / count_B[:, None]).astype(np.float32)


def known_users(users: np.ndarray, num_users: int) -> np.ndarray:
    """Return the ids as int64.

    Raises ValueError for an id outside 0..num_users-1; numpy would read -1 as the last user.
    """
    users = np.asarray(users, np.int64)
    if users.size and (users.min() < 0 or users.max() >= num_users):
        wrong = int(users[(users < 0) | (users >= num_users)][0])
        raise ValueError(f"unknown user {wrong}: this model knows users 0..{num_users - 1}")
    return users
