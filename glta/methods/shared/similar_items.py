"""Find the items that share most users with an item."""

# U users, I items
from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, vstack

BLOCK_PRODUCTS = 2**22
"""Multiplications for one block of the item-item matrix. The block has at most as many entries."""


def similar_items(
    history_UI: csr_array, num_neighbours: int, shrinkage: float, *, user_power: float = 0.0
) -> csr_array:
    """Find each item's most similar items: a sparse (I, I) float32 matrix.

    Row i holds sim(i, j) for at most num_neighbours items j != i, where sim(i, j) =
    |users of both| / (sqrt(|users of i| |users of j|) + shrinkage). A user of n items counts
    n^-user_power. Of equally similar items, those with lower ids are kept. The result is exact. It
    is computed in blocks of rows, so that the whole item-item matrix is never in memory.
    """
    if user_power:
        history_UI = weighed_users(history_UI, user_power)
    counts_I = np.asarray(history_UI.power(2).sum(0), np.float64)
    by_item = history_UI.T.tocsr()
    # the multiplications for an item's row: the number of items that its users have
    cost_I = (by_item != 0) @ np.diff(history_UI.indptr)
    block_I = (np.cumsum(cost_I, dtype=np.float64) // BLOCK_PRODUCTS).astype(np.int64)
    starts = np.flatnonzero(np.diff(block_I, prepend=-1))
    blocks = []
    for start, end in zip(starts, [*starts[1:], len(counts_I)], strict=True):
        both = (by_item[start:end] @ history_UI).tocoo()
        row = both.row + start
        column = both.col
        other = row != column
        row, column, value = row[other], column[other], both.data[other]
        value = (value / (np.sqrt(counts_I[row] * counts_I[column]) + shrinkage)).astype(np.float32)
        order = np.lexsort((column, -value, row))
        row, column, value = row[order], column[order], value[order]
        place = np.arange(row.size) - np.searchsorted(row, row)  # within its row, from 0
        near = place < num_neighbours
        blocks.append(
            csr_array(
                (value[near], (row[near] - start, column[near])), shape=(end - start, len(counts_I))
            )
        )
    return vstack(blocks, format="csr")


def weighed_users(history_UI: csr_array, user_power: float) -> csr_array:
    """Multiply the row of a user of n items by n^(-user_power / 2): sparse (U, I) float64.

    In products of two columns, the user then counts n^-user_power.
    """
    count_U = np.diff(history_UI.indptr)
    scale_U = np.maximum(count_U, 1) ** (-user_power / 2)
    return csr_array(
        (history_UI.data * np.repeat(scale_U, count_U), history_UI.indices, history_UI.indptr),
        shape=history_UI.shape,
    )
