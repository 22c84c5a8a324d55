"""Find the items that share most users with an item."""

# U users, I items
from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, vstack

BLOCK_PRODUCTS = 2**22
"""Multiplications for one block of the item-item matrix. The block has at most as many entries."""


def similar_items(history_UI: csr_array, num_neighbours: int, shrinkage: float) -> csr_array:
    """Find each item's most similar items: a sparse (I, I) float32 matrix.

    Row i holds sim(i, j) for at most num_neighbours items j != i, where sim(i, j) =
    |users of both| / (sqrt(|users of i| |users of j|) + shrinkage). Of equally similar items, those
    with lower ids are kept. The result is exact. It is computed in blocks of rows, so that the
    whole item-item matrix is never in memory.
    """
    counts_I = np.asarray(history_UI.sum(0), np.float64)
    by_item = history_UI.T.tocsr()
    # the multiplications for an item's row: the number of items that its users have
    cost_I = by_item @ np.asarray(history_UI.sum(1))
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
