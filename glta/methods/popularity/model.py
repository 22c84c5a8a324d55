"""Popularity: the same scores for every user."""

# U users, I items, B users of a block
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked, known_users
from glta.methods.base import Job, Scorer, Step
from glta.methods.shared.about import read_about, write_about
from glta.storage.arrays import load_arrays, save_arrays


@dataclass(frozen=True)
class Popularity(Scorer):
    """Score an item by its number of training users. degree: (I,) float32, these numbers."""

    degree: np.ndarray
    num_users: int

    def score(self, users: np.ndarray) -> np.ndarray:
        return np.tile(self.degree, (known_users(users, self.num_users).size, 1))

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        return np.tile(self.degree, (checked(history_BI, self.degree.size).shape[0], 1))

    def save(self, folder: Path) -> None:
        meta = {"num_users": self.num_users}
        save_arrays(folder / "model.safetensors", {"degree": self.degree}, meta)
        write_about(folder, "popularity", trainable_parameters=0)

    @classmethod
    def load(cls, folder: Path) -> Self:
        read_about(folder, "popularity")
        arrays, meta = load_arrays(folder / "model.safetensors")
        return cls(arrays["degree"], meta["num_users"])


class CountUsers(Step):
    """Count the training users of every item."""

    def run(self, job: Job) -> Popularity:
        train = job.prepared.train
        return Popularity(train.item_degree.astype(np.float32), train.num_users)
