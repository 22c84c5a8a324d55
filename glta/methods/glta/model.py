"""Recommend with GLTA: from read-out states of all users and the head that scores items by them."""

# U users, I items, J new items, B users of a block, K read-outs, H language width
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked, known_users
from glta.data.interactions import Interactions
from glta.evaluation.ranking import dot_products, rank_all
from glta.methods.base import Scorer
from glta.methods.glta.artefacts import AlignedUsers
from glta.methods.glta.settings import Mode
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.head_rows import TextRows, fit_rows
from glta.storage.arrays import joined, load_arrays, part_of, save_arrays

# number of users whose lists are made together
BLOCK = 256


@dataclass(frozen=True, eq=False)
class GLTA(Scorer):
    """Score items by the logits of the first read-out: state @ weight (I, H).T + bias (I,).

    aligned: read-out states and prompts of all users. It loads the language model for new users and
    for autoregressive lists alone. text: makes rows of the head for new items. mode: how lists are
    made, see `recommend`.
    """

    aligned: AlignedUsers
    weight: np.ndarray
    bias: np.ndarray
    text: TextRows
    mode: Mode = "first_logit"

    @classmethod
    def of(
        cls,
        aligned: AlignedUsers,
        text_IW: np.ndarray,
        known_I: np.ndarray,
        mode: Mode = "first_logit",
    ) -> Self:
        """Make the recommender from a trained aligner.

        text_IW: states of the item texts. known_I: (I,) bool, the items with training users. The
        head's rows of all other items are predicted from their texts.
        """
        states = aligned.states
        shown = states[:: -(-len(states) // 1000), 0]
        weight, bias = (array.copy() for array in aligned.factors())
        text = fit_rows(text_IW[known_I], weight[known_I], bias[known_I], shown)
        weight[~known_I], bias[~known_I] = text.rows(text_IW[~known_I])
        return cls(aligned, weight, bias, text, mode)

    @property
    def states(self) -> np.ndarray:
        """Return the read-out states of all users, (U, K, H)."""
        return self.aligned.states

    def score(self, users: np.ndarray) -> np.ndarray:
        """Score by the first read-out."""
        first = self.states[known_users(users, len(self.states)), 0]
        return dot_products(first, self.weight) + self.bias

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        """Score items for new users: the language model reads one prompt for each of them.

        Items that were added by `extended` have no token, and are left out of the prompts. Raises
        ValueError when users have no token.
        """
        num_known = len(self.aligned.nodes.item)
        history_BI = checked(history_BI, len(self.weight))[:, :num_known]
        return self._logits(self.aligned.read_histories(history_BI))

    def extended(self, text_JW: np.ndarray) -> Self:
        weight, bias = self.text.rows(text_JW)
        return replace(
            self,
            weight=np.concatenate([self.weight, weight]),
            bias=np.concatenate([self.bias, bias]),
        )

    def recommend(
        self, users: np.ndarray, k: int, exclude: Interactions
    ) -> tuple[np.ndarray, np.ndarray]:
        """Make lists of items and scores, each (len(users), k), in one of GLTA's prediction modes.

        self.mode is one of three. first_logit: items are ranked by the first read-out.
        one_per_position: read-out t chooses item t, greedily and without repeats; places after the
        last read-out are filled by the first read-out. autoregressive: each chosen item is added to
        the prompt as an item token, and the prompt is read again. Raises ValueError when the longer
        prompts do not fit into the language model.
        """
        if self.mode == "first_logit":
            return rank_all(self.score, users, k=k, exclude=exclude)
        users = known_users(users, len(self.states))
        length = min(k, len(self.weight))
        if self.mode == "autoregressive":
            if len(self.aligned.nodes.item) < len(self.weight):
                raise ValueError(
                    "settings.glta.serve.mode = autoregressive: new items have no token that could "
                    "be added to a prompt; choose another mode"
                )
            self.aligned.check_room(length)
        items = np.full((len(users), k), -1, np.int64)
        scores = np.full((len(users), k), -np.inf, np.float32)
        for start in range(0, len(users), BLOCK):
            part = slice(start, start + BLOCK)
            blocked = np.zeros((users[part].size, len(self.weight)), bool)
            blocked[exclude.rows(users[part])] = True
            self._fill(users[part], items[part, :length], scores[part, :length], blocked)
        return items, scores

    def _fill(
        self, users: np.ndarray, items: np.ndarray, scores: np.ndarray, blocked: np.ndarray
    ) -> None:
        """Fill lists place by place. items, scores: (B, length) views. blocked: (B, I) bool."""
        rows = np.arange(users.size)
        for t in range(items.shape[1]):
            score = np.where(blocked, -np.inf, self._scores_at(t, users, items[:, :t]))
            best = score.argmax(1)
            left = ~blocked[rows, best]
            items[left, t] = best[left]
            scores[left, t] = score[rows, best][left]
            blocked[rows, best] = True

    def _scores_at(self, t: int, users: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Score all items for place t of the lists. chosen: (B, t), the items chosen before."""
        if self.mode == "autoregressive":
            return self._logits(self.aligned.read_after(users, chosen, f"item {t + 1} read"))
        return self._logits(self.states[users, t if t < self.states.shape[1] else 0])

    def _logits(self, states_BH: np.ndarray) -> np.ndarray:
        return states_BH @ self.weight.T + self.bias

    def save(self, folder: Path) -> None:
        """Write a folder that `load` reads. `load` needs the language model's weights besides."""
        self.aligned.save(folder)
        arrays = {"weight": self.weight, "bias": self.bias} | joined({"text": self.text._asdict()})
        save_arrays(folder / "model.safetensors", arrays, {"mode": self.mode})
        about = self.aligned.about
        count = sum(math.prod(shape) for shape in about.trained.values())
        write_about(folder, "glta", trainable_parameters=count, **about.model_dump())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that `save` wrote. The language model is loaded at its first use."""
        read_about(folder, "glta")
        arrays, meta = load_arrays(folder / "model.safetensors")
        text = TextRows(**part_of(arrays, "text"))
        aligned = AlignedUsers.load(folder)
        return cls(aligned, arrays["weight"], arrays["bias"], text, meta["mode"])
