"""What item-to-item methods share: the training items of every user as a sparse matrix, kept with the model."""

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
    """Place people in LightGCN's space by their items: the sum of the items' messages over sqrt(number of items), (B, D).

    message_ID: see `glta.graph.lightgcn.LightGCN.messages`. Nobody's own layer 0 is part of it. Zeros without an item.
    """
    count_B = np.maximum(np.asarray(history_BI.sum(1)), 1)
    return ((history_BI @ message_ID) / np.sqrt(count_B)[:, None]).astype(np.float32)


def sparse_arrays(name: str, matrix: csr_array) -> dict[str, np.ndarray]:
    """Take a sparse matrix apart, to be saved as NAME.values, NAME.columns, NAME.starts and NAME.shape."""
    parts = {"values": matrix.data, "columns": matrix.indices, "starts": matrix.indptr, "shape": np.array(matrix.shape)}
    return {f"{name}.{part}": array for part, array in parts.items()}


def sparse_from(name: str, arrays: dict[str, np.ndarray]) -> csr_array:
    """Put together what `sparse_arrays` took apart."""
    values, columns, starts, shape = (arrays[f"{name}.{part}"] for part in ("values", "columns", "starts", "shape"))
    return csr_array((values, columns, starts), shape=tuple(shape))
