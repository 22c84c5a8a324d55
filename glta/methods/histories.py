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


def sparse_arrays(name: str, matrix: csr_array) -> dict[str, np.ndarray]:
    """Take a sparse matrix apart, to be saved as NAME.values, NAME.columns, NAME.starts and NAME.shape."""
    parts = {"values": matrix.data, "columns": matrix.indices, "starts": matrix.indptr, "shape": np.array(matrix.shape)}
    return {f"{name}.{part}": array for part, array in parts.items()}


def sparse_from(name: str, arrays: dict[str, np.ndarray]) -> csr_array:
    """Put together what `sparse_arrays` took apart."""
    values, columns, starts, shape = (arrays[f"{name}.{part}"] for part in ("values", "columns", "starts", "shape"))
    return csr_array((values, columns, starts), shape=tuple(shape))
