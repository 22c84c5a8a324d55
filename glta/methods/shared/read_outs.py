"""Score by the first read-out of GLTA, from the files of its model alone."""

# U users, I items, H language width
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np

from glta.methods.shared.about import read_about
from glta.methods.shared.dot_product import DotProduct
from glta.storage.arrays import load_arrays


class ReadOutScores(DotProduct):
    """Score by the logits of GLTA's head for the first read-out of each user.

    user: (U, H + 1), the states, and 1. item: (I, H + 1), the rows of the head, and its bias.
    The language model is not loaded. So these scores are those of the users that it has read.
    """

    knows_newcomers = False

    @classmethod
    def read(cls, folder: Path, method: str) -> Self:
        """Read the folder of GLTA's recommender (`glta/methods/glta/model.py` writes it)."""
        read_about(folder, method)
        head, _ = load_arrays(folder / "model.safetensors")
        aligner, _ = load_arrays(folder / "aligner.safetensors")
        state = aligner["states"][:, 0]
        one = np.ones((len(state), 1), np.float32)
        return cls(
            user=np.concatenate([state, one], axis=1),
            item=np.concatenate([head["weight"], head["bias"][:, None]], axis=1),
        )

    def with_unknown(self, num: int) -> Self:
        return replace(self, item=np.pad(self.item, [(0, num), (0, 0)]))
