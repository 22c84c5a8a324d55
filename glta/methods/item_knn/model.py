"""Item-kNN: score items by how many users they share with the user's items."""

# U users, I items, B users of a block
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array, vstack

from glta.data.histories import checked, history_matrix, known_users
from glta.methods.base import Job, Scorer, Step
from glta.methods.item_knn.spec import ItemKNNSettings
from glta.methods.shared.about import read_about, write_about
from glta.storage.arrays import load_arrays, save_arrays, sparse_arrays, sparse_from

BLOCK_PRODUCTS = 2**22
"""Multiplications for one block of the item-item matrix. The block has at most as many entries."""


def neighbours(history_UI: csr_array, num_neighbours: int, shrinkage: float) -> csr_array:
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


@dataclass(frozen=True)
class ItemKNN(Scorer):
    """Score an item by the similarities of its nearest neighbours that the user has, added up.

    The method is that of Sarwar et al. (WWW 2001). The similarity is the cosine with shrinkage, as
    compared by Ferrari Dacrema et al. (RecSys 2019).
    history: (U, I), 1 for training pairs. similar: (I, I), see `neighbours`.
    """

    history: csr_array
    similar: csr_array

    def score(self, users: np.ndarray) -> np.ndarray:
        return self.score_histories(self.history[known_users(users, self.history.shape[0])])

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        return (checked(history_BI, self.similar.shape[0]) @ self.similar.T).toarray()

    def save(self, folder: Path) -> None:
        arrays = sparse_arrays("history", self.history) | sparse_arrays("similar", self.similar)
        save_arrays(folder / "model.safetensors", arrays)
        write_about(folder, "item-knn", trainable_parameters=0)

    @classmethod
    def load(cls, folder: Path) -> Self:
        read_about(folder, "item-knn")
        arrays, _ = load_arrays(folder / "model.safetensors")
        return cls(sparse_from("history", arrays), sparse_from("similar", arrays))


class FindNeighbours(Step):
    """Find the most similar items of every item. Nothing is trained."""

    def run(self, job: Job) -> ItemKNN:
        settings = job.own(ItemKNNSettings)
        history = history_matrix(job.prepared.train)
        return ItemKNN(history, neighbours(history, settings.neighbours, settings.shrinkage))
