"""GLTA+: graph tokens and language tokens matched by one map, in closed form, added to what graph and text say alone.

What GLTA's alignment learns in epochs, this solves at once. Its targets never see themselves: the map has a zero
diagonal, so that an item is told from the others only, and no gradient can run into what was to be predicted.
"""

# U users, I items, W language width, B users of a block
from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array, diags_array

from glta.files import read_json, write_json
from glta.methods.arrays import known_users, load_arrays, save_arrays
from glta.methods.base import Inputs, Method
from glta.methods.ease import refuse_large, zero_diagonal_map
from glta.methods.histories import history_matrix, sparse_arrays, sparse_from
from glta.methods.lightgcn import LightGCNMethod
from glta.methods.lightgcn_text_knn import standardized
from glta.methods.text_knn import TextKNN
from glta.params import Params


def token_map(history_UI: csr_array, text_IW: np.ndarray, l2: float, text_weight: float, user_power: float) -> np.ndarray:
    """Solve min_B ||D (X - X B)||^2 + text_weight ||T - T B||^2 + l2 ||B||^2 with a zero diagonal.

    X: graph tokens of an item, the users who have it, (U, I). T: its language token, text_IW transposed. D scales a user
    of n items by (n / mean n)^(-user_power / 2). Returns (I, I) float32; column j tells item j from the others: rare items,
    whose users say little, from items with like texts. Without text and user_power it is EASE.
    """
    count_U = np.maximum(np.asarray(history_UI.sum(1), np.float64), 1)
    x = history_UI.astype(np.float64)
    gram = np.asfortranarray((x.T @ (diags_array((count_U / count_U.mean()) ** -user_power) @ x)).toarray())
    text = text_IW.astype(np.float64)
    gram += text_weight * (text @ text.T)
    return zero_diagonal_map(gram, l2)


def simplex(steps: int) -> np.ndarray:
    """List all (matched, graph, text) weights that add up to 1, in `steps` equal parts from 0 to 1. Returns (S, 3)."""
    parts = steps - 1
    whole = [(a, b, parts - a - b) for a, b in itertools.product(range(steps), repeat=2) if a + b <= parts]
    return np.array(whole) / parts


@dataclass(frozen=True)
class GLTAPlus(Method):
    """Score by a weighted sum of three evidences, each standardised per user over the catalogue.

    matched: the user's items through `token_map`; graph: LightGCN; text: text-kNN. All users are inductive: nothing about
    them is stored but their items. history (U, I): training pairs. weights (I, I): the map. mix (3,): weights of
    (matched, graph, text), best on validation NDCG@20. The map is that of EASE (Steck, WWW 2019, eq. 8) with item
    features as further rows (after Jeunen et al., "Closed-Form Models for Collaborative Filtering with Side-Information",
    RecSys 2020).
    """

    history: csr_array
    weights: np.ndarray
    graph: LightGCNMethod
    text: TextKNN
    mix: tuple[float, float, float]

    @classmethod
    def fit(cls, inputs: Inputs, params: Params, seed: int) -> Self:
        """Raise ValueError when the catalogue is larger than its max_items."""
        from glta.validation import validation_ndcgs

        own, num_items = params.settings.glta_plus, inputs.prepared.train.num_items
        refuse_large("glta-plus", num_items, own.max_items)
        history = history_matrix(inputs.prepared.train)
        graph, text = LightGCNMethod.fit(inputs, params, seed), TextKNN.fit(inputs, params, seed)
        weights = token_map(history, text.item, own.l2, own.text_weight, own.user_power)
        model = cls(history, weights, graph, text, (1.0, 0.0, 0.0))
        mixes = simplex(own.weight_steps)

        def candidates(users: np.ndarray) -> Iterator[np.ndarray]:
            evidences = model.evidences(users)
            return (mixed(evidences, mix) for mix in mixes)

        # equal lists may differ in the last bit of their sum, which must not choose among them
        values = validation_ndcgs(inputs.prepared, candidates).round(12)
        return cls(history, weights, graph, text, tuple(mixes[np.argmax(values)].tolist()))

    def evidences(self, users: np.ndarray) -> list[np.ndarray]:
        """Score by each evidence alone, standardised: matched, graph, text, each (B, I) float32."""
        matched = self.history[known_users(users, self.history.shape[0])] @ self.weights
        return [standardized(scores) for scores in (matched, self.graph.score(users), self.text.score(users))]

    def score(self, users: np.ndarray) -> np.ndarray:
        return mixed(self.evidences(users), self.mix)

    def save(self, folder: Path) -> None:
        parts = {"graph": self.graph, "text": self.text}
        arrays = {f"{name}.{side}": getattr(part, side) for name, part in parts.items() for side in ("user", "item")}
        arrays |= sparse_arrays("history", self.history) | {"weights": self.weights}
        save_arrays(folder / "model.safetensors", arrays)
        # the map without its diagonal, and two free weights
        count = self.weights.size - len(self.weights) + self.graph.trainable_parameters + 2
        mix = dict(zip(("matched", "graph", "text"), self.mix, strict=True))
        write_json(folder / "model.json", {"method": "glta-plus", "trainable_parameters": count, "mix": mix})

    @classmethod
    def load(cls, folder: Path) -> Self:
        arrays, _ = load_arrays(folder / "model.safetensors")
        mix = read_json(folder / "model.json")["mix"]
        graph = LightGCNMethod(arrays["graph.user"], arrays["graph.item"])
        text = TextKNN(arrays["text.user"], arrays["text.item"])
        history = sparse_from("history", arrays)
        return cls(history, arrays["weights"], graph, text, (mix["matched"], mix["graph"], mix["text"]))


def mixed(evidences: list[np.ndarray], mix: np.ndarray | tuple[float, float, float]) -> np.ndarray:
    """Add up evidences by their weights. Returns a fresh (B, I) float32."""
    return sum(np.float32(weight) * evidence for weight, evidence in zip(mix, evidences, strict=True))
