"""GLTA+: graph tokens and language tokens matched by one map, in closed form.

The scores of the map are added to the scores of the graph alone and of the text alone. GLTA trains
its alignment for some epochs; this map is solved at once. It has a zero diagonal: an item is
predicted from the other items only, never from itself.
"""

# U users, I items, J new items, N chosen items, W language width, B users of a block, S mixes
from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array, diags_array

from glta.data.histories import checked, history_matrix, known_users
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.methods.base import Job, Scorer, Step
from glta.methods.glta_plus.spec import GLTAPlusSettings
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.closed_form import refuse_large, zero_diagonal_map
from glta.methods.shared.graph_scores import GraphScores
from glta.methods.shared.standardized import standardized
from glta.methods.shared.text_space import TextScores
from glta.storage.arrays import (
    joined,
    load_arrays,
    part_of,
    save_arrays,
    sparse_arrays,
    sparse_from,
)

COMPONENTS = ("matched", "graph", "text")
"""The component scores: of the token map, of LightGCN and of text-kNN."""

Mix = tuple[float, float, float]
"""Weights of the components, in the order of `COMPONENTS`."""

STRENGTHS = np.array([0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0])
"""Factors for the scores of new items that are tried on validation; ascending."""

NEW_ITEMS_COST = 0.01
"""Share of the best validation NDCG@20 that may be lost, so that new items can reach a list."""


def token_map(
    history_UI: csr_array, text_IW: np.ndarray, l2: float, text_weight: float, user_power: float
) -> tuple[np.ndarray, np.ndarray]:
    """Solve min_B ||D (X - X B)||^2 + text_weight ||T - T B||^2 + l2 ||B||^2 with a zero diagonal.

    X (U, I) holds the graph tokens of the items: column j has a 1 for every user of item j. T
    (W, I) holds their language tokens, text_IW transposed. D scales the row of a user with n items
    by (n / mean n)^(-user_power / 2). Column j of B predicts item j from the other items. Text
    helps most for items with few users. Without text and with user_power 0 this is EASE.
    Rows of items without users are 0, because no user's score depends on them. The columns of such
    items come from `columns_from_text`; the other columns are solved without these items.

    Returns B (I, I) and the diagonal of P = (X^T D^2 X + text_weight T^T T + l2 I)^-1, (I,), which
    is 0 for items without users. Both are float32.
    """
    known = np.asarray(history_UI.sum(0)) > 0
    count_U = np.maximum(np.asarray(history_UI.sum(1), np.float64), 1)
    x = history_UI[:, known].astype(np.float64)
    text = text_IW[known].astype(np.float64)
    user_weights = diags_array((count_U / count_U.mean()) ** -user_power)
    gram = np.asfortranarray((x.T @ (user_weights @ x)).toarray())
    gram += text_weight * (text @ text.T)
    weights, diagonal = zero_diagonal_map(gram, l2)
    if not known.all():
        # from places among the known items to places among all; the row and the column that an item
        # without users gets here are another item's, and are set to 0
        place = np.cumsum(known) - 1
        weights = weights[np.ix_(place, place)] * np.outer(known, known)
        diagonal = diagonal[place] * known
        weights[:, ~known] = columns_from_text(
            weights, diagonal, text_IW, text_IW[~known], text_weight
        )
    return weights, diagonal


def columns_from_text(
    weights_II: np.ndarray,
    diagonal_I: np.ndarray,
    text_IW: np.ndarray,
    new_JW: np.ndarray,
    text_weight: float,
) -> np.ndarray:
    """Estimate the columns of items without users from their text: (I, J) float32.

    The column of a new item with language token t is text_weight P T^T t. This is the ridge
    regression of t on the language tokens T of the items with users, because an item without users
    adds nothing but text_weight T^T t to the Gram matrix. P is not at hand, but P v = d v - B (d v)
    for any vector v, where d is the diagonal of P.
    weights_II, diagonal_I: B and d of `token_map`. new_JW: language tokens of the new items.
    """
    scaled = diagonal_I[:, None] * (np.float32(text_weight) * text_IW @ new_JW.T)
    return scaled - weights_II @ scaled


def leave_one_out_columns(
    weights_II: np.ndarray,
    diagonal_I: np.ndarray,
    text_IW: np.ndarray,
    items_N: np.ndarray,
    text_weight: float,
) -> np.ndarray:
    """Estimate the columns of known items from their text alone: (I, N) float32.

    These are leave-one-out estimates: each column is what `columns_from_text` would give if its own
    item had no users. Without item j among the regressors, P v becomes P v - P_j (P v)_j / P_jj,
    where P_j / P_jj = e_j - B_j with the unit vector e_j.
    """
    estimated = columns_from_text(weights_II, diagonal_I, text_IW, text_IW[items_N], text_weight)
    place = np.arange(len(items_N))
    estimated += weights_II[:, items_N] * estimated[items_N, place]
    estimated[items_N, place] = 0
    return estimated


def gain_of(known_BN: np.ndarray, estimated_BN: np.ndarray) -> float:
    """Return the ratio of two spreads: of learnt scores, and of their leave-one-out estimates.

    A spread is a user's standard deviation over items, averaged over the users. Returns 1 when the
    estimates are constant.
    """
    spread = float(estimated_BN.std(1).mean())
    return float(known_BN.std(1).mean()) / spread if spread > 0 else 1.0


def evenly(among: np.ndarray, limit: int = 1000) -> np.ndarray:
    """Take at most `limit` entries, evenly spaced."""
    return among[np.arange(limit) * among.size // limit] if among.size > limit else among


def only(pairs: Interactions, items: np.ndarray) -> Interactions:
    """Keep the pairs of some items. These items are numbered anew from 0.

    items: ids, ascending.
    """
    place = np.searchsorted(items, pairs.item).clip(max=items.size - 1)
    kept = items[place] == pairs.item
    return Interactions(pairs.user[kept], place[kept], pairs.num_users, items.size)


def simplex(steps: int) -> np.ndarray:
    """List all weights of the three components that add up to 1: (S, 3).

    Each weight is one of `steps` values, evenly from 0 to 1.
    """
    parts = steps - 1
    whole = [
        (a, b, parts - a - b)
        for a, b in itertools.product(range(steps), repeat=2)
        if a + b <= parts
    ]
    return np.array(whole) / parts


@dataclass(frozen=True)
class GLTAPlus(Scorer):
    """Score by a weighted sum of three component scores.

    The components are "matched" (the user's items times the token map), "graph" (LightGCN) and
    "text" (text-kNN). Each is standardised per user over the items with training users. The token
    map is that of EASE (Steck, WWW 2019, eq. 8) with item features as further rows (after Jeunen et
    al., "Closed-Form Models for Collaborative Filtering with Side-Information", RecSys 2020).

    Items without training users are scored by their item features. Their columns of the map come
    from `columns_from_text`. Their embedding in the graph is the sum of the other items' embeddings
    with the weights of that column. Both are multiplied by a gain, the same for all such items:
    estimates from text vary less than scores learnt from users, so that without a gain no new item
    would ever reach a list.

    history: (U, I), 1 for training pairs. weights: (I, I), diagonal: (I,), see `token_map`.
    gains: of matched and graph, see `calibrated`.
    mix: the weights of the components with the best validation NDCG@20.
    new_mix: the weights for items without training users, see `with_new_mix`.
    """

    history: csr_array
    weights: np.ndarray
    diagonal: np.ndarray
    text_weight: float
    gains: tuple[float, float]
    graph: GraphScores
    text: TextScores
    mix: Mix
    new_mix: Mix

    def calibrated(self) -> Self:
        """Choose the gains, and apply them to the items without training users.

        A gain is computed by `gain_of` from the scores of known items and their leave-one-out
        estimates, over at most 1,000 items and users. The arrays of this object are changed.
        """
        shown = evenly(np.flatnonzero(self.diagonal))
        users = evenly(np.arange(self.history.shape[0]))
        estimated = leave_one_out_columns(
            self.weights, self.diagonal, self.text.item, shown, self.text_weight
        )
        history = self.history[users]
        user = self.graph.user[users]
        item = self.graph.item
        matched = gain_of(history @ self.weights[:, shown], history @ estimated)
        graph = gain_of(user @ item[shown].T, user @ (estimated.T @ item).T)
        new = self.diagonal == 0
        item[new] = np.float32(graph) * self.weights[:, new].T @ item
        self.weights[:, new] *= np.float32(matched)
        return replace(self, gains=(matched, graph))

    def with_new_mix(self, prepared: Prepared, mixes: np.ndarray) -> Self:
        """Choose new_mix on validation, where some known items stand for new ones.

        These are a tenth of the known items, at most 1,000. Their scores are replaced by
        leave-one-out estimates. Of `mixes` (S, 3), the one with the best NDCG@20 is chosen for
        lists of these items alone. It is then multiplied by the greatest of STRENGTHS that loses at
        most NEW_ITEMS_COST of the best NDCG@20 in lists of all items.
        The strength is not chosen by that NDCG@20 alone, because where text predicts little, lists
        without new items would be best. new_mix is mix when no validation pair has one of these
        items.
        """
        from glta.evaluation.validation import has_validation_pairs, validation_ndcgs

        known = np.flatnonzero(self.diagonal)
        shown = evenly(known, min(1000, -(-known.size // 10)))
        few = replace(
            prepared, train=only(prepared.train, shown), valid=only(prepared.valid, shown)
        )
        if not has_validation_pairs(few):
            return replace(self, new_mix=self.mix)
        matched_gain, graph_gain = (np.float32(gain) for gain in self.gains)
        estimated = leave_one_out_columns(
            self.weights, self.diagonal, self.text.item, shown, self.text_weight
        )
        weights = self.weights.copy()
        weights[:, shown] = matched_gain * estimated
        item = self.graph.item.copy()
        item[shown] = graph_gain * estimated.T @ self.graph.item
        diagonal = self.diagonal.copy()
        diagonal[shown] = 0
        model = replace(
            self, weights=weights, diagonal=diagonal, graph=replace(self.graph, item=item)
        )

        def among_shown(users: np.ndarray) -> Iterator[np.ndarray]:
            components = [scores[:, shown] for scores in model.components(users)]
            return (mixed(components, mix) for mix in mixes)

        mix = mixes[np.argmax(validation_ndcgs(few, among_shown).round(12))]
        candidates = [
            replace(model, new_mix=tuple((strength * mix).tolist())) for strength in STRENGTHS
        ]

        def among_all(users: np.ndarray) -> Iterator[np.ndarray]:
            components = model.components(users, without=self.diagonal == 0)
            return (mixed(components, candidate.item_mix) for candidate in candidates)

        values = validation_ndcgs(prepared, among_all).round(12)
        allowed = np.flatnonzero(values >= (1 - NEW_ITEMS_COST) * values.max())
        return replace(self, new_mix=candidates[allowed[-1]].new_mix)

    @property
    def item_mix(self) -> np.ndarray:
        """Each item's weights of the three components, (3, I) float32."""
        known_mix = np.array(self.mix, np.float32)[:, None]
        new_mix = np.array(self.new_mix, np.float32)[:, None]
        return np.where(self.diagonal > 0, known_mix, new_mix)

    def components(self, users: np.ndarray, without: np.ndarray | None = None) -> list[np.ndarray]:
        """Return the standardised scores of each component, each (B, I) float32.

        without: (I,) bool, items that get the lowest score. Used on validation for new items, which
        no validation pair can have.
        """
        matched = self.history[known_users(users, self.history.shape[0])] @ self.weights
        found = self._standardized(matched, self.graph.score(users), self.text.score(users))
        if without is not None:
            for scores in found:
                scores[:, without] = -1e6
        return found

    def _standardized(self, *components: np.ndarray) -> list[np.ndarray]:
        """Standardise over the items with training users. New items do not change the scores."""
        return [standardized(scores, self.diagonal > 0) for scores in components]

    def score(self, users: np.ndarray) -> np.ndarray:
        return mixed(self.components(users), self.item_mix)

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        matched = checked(history_BI, len(self.weights)) @ self.weights
        graph = self.graph.score_histories(history_BI)
        text = self.text.score_histories(history_BI)
        return mixed(self._standardized(matched, graph, text), self.item_mix)

    def extended(self, text_JW: np.ndarray) -> Self:
        num = len(text_JW)
        text = self.text.extended(text_JW)
        estimated = columns_from_text(
            self.weights, self.diagonal, self.text.item, text.item[-num:], self.text_weight
        )
        matched_gain, graph_gain = (np.float32(gain) for gain in self.gains)
        new_item = graph_gain * estimated.T @ self.graph.item
        graph = replace(
            self.graph,
            item=np.concatenate([self.graph.item, new_item]),
            message=np.pad(self.graph.message, [(0, num), (0, 0)]),
        )
        old = self.history
        columns = np.concatenate([self.weights, matched_gain * estimated], axis=1)
        return replace(
            self,
            history=csr_array(
                (old.data, old.indices, old.indptr), shape=(old.shape[0], old.shape[1] + num)
            ),
            weights=np.pad(columns, [(0, num), (0, 0)]),
            diagonal=np.pad(self.diagonal, (0, num)),
            graph=graph,
            text=text,
        )

    def save(self, folder: Path) -> None:
        arrays = joined({"graph": self.graph.arrays, "text": self.text.arrays})
        arrays |= sparse_arrays("history", self.history)
        arrays |= {"weights": self.weights, "diagonal": self.diagonal}
        save_arrays(folder / "model.safetensors", arrays)
        # the map without its diagonal, the embeddings, 2 free weights of mix and 3 of new_mix
        count = self.weights.size - len(self.weights) + self.graph.trainable_parameters + 2 + 3
        write_about(
            folder,
            "glta-plus",
            trainable_parameters=count,
            text_weight=self.text_weight,
            mix=dict(zip(COMPONENTS, self.mix, strict=True)),
            new_mix=dict(zip(COMPONENTS, self.new_mix, strict=True)),
            gains={"matched": self.gains[0], "graph": self.gains[1]},
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        about = read_about(folder, "glta-plus")
        arrays, _ = load_arrays(folder / "model.safetensors")
        return cls(
            history=sparse_from("history", arrays),
            weights=arrays["weights"],
            diagonal=arrays["diagonal"],
            text_weight=about["text_weight"],
            gains=(about["gains"]["matched"], about["gains"]["graph"]),
            graph=GraphScores(**part_of(arrays, "graph")),
            text=TextScores(**part_of(arrays, "text")),
            mix=_mix_of(about["mix"]),
            new_mix=_mix_of(about["new_mix"]),
        )


def _mix_of(weights: Mapping[str, float]) -> Mix:
    """Put weights by name into the order of `COMPONENTS`."""
    matched, graph, text = (weights[name] for name in COMPONENTS)
    return matched, graph, text


def mixed(components: list[np.ndarray], mix: np.ndarray) -> np.ndarray:
    """Return the weighted sum of component scores, (B, I) float32. mix: (3,) or (3, I)."""
    total = np.zeros_like(components[0])
    for weight, component in zip(np.asarray(mix, np.float32), components, strict=True):
        total += weight * component
    return total


class MatchTokens(Step):
    """Solve for the token map, and choose the weights of the components on validation.

    `run` raises ValueError when the catalogue has more than settings.glta-plus.max_items items.
    """

    def run(self, job: Job) -> GLTAPlus:
        from glta.evaluation.validation import validation_ndcgs

        settings = job.own(GLTAPlusSettings)
        prepared = job.prepared
        refuse_large("glta-plus", prepared.train.num_items, settings.max_items)
        history = history_matrix(prepared.train)
        graph = GraphScores.of(job.source("pretrain-all"), prepared.train)
        text = TextScores.of(job)
        weights, diagonal = token_map(
            history, text.item, settings.l2, settings.text_weight, settings.user_power
        )
        model = GLTAPlus(
            history=history,
            weights=weights,
            diagonal=diagonal,
            text_weight=settings.text_weight,
            gains=(1.0, 1.0),
            graph=graph,
            text=text,
            mix=(1.0, 0.0, 0.0),
            new_mix=(1.0, 0.0, 0.0),
        ).calibrated()
        left_out = [component not in settings.components for component in COMPONENTS]
        mixes = simplex(settings.weight_steps)
        mixes = mixes[(mixes[:, left_out] == 0).all(1)]

        def candidates(users: np.ndarray) -> Iterator[np.ndarray]:
            components = model.components(users, without=model.diagonal == 0)
            return (mixed(components, mix) for mix in mixes)

        # equal lists may differ in the last bit of the sum, which must not decide
        values = validation_ndcgs(prepared, candidates).round(12)
        best = tuple(mixes[np.argmax(values)].tolist())
        return replace(model, mix=best).with_new_mix(prepared, mixes)
