"""GLTA+: graph tokens and language tokens matched by one map, in closed form.

The map's scores are added to the scores of the graph alone and of the text alone. What GLTA's
alignment learns in epochs, this solves at once. The map has a zero diagonal: an item is predicted
from the other items only, so a target is never predicted from itself.
"""

# U users, I items, J new items, W language width, B users of a block
from __future__ import annotations

import itertools
from collections.abc import Iterator
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

Mix = tuple[float, float, float]
"""Weights of the components."""

STRENGTHS = np.array(
    [0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0]
)  # of new items against known ones, tried on validation

NEW_ITEMS_COST = (
    0.01  # share of the best NDCG@20 that lists may lose, so that new items are found at all
)


def token_map(
    history_UI: csr_array, text_IW: np.ndarray, l2: float, text_weight: float, user_power: float
) -> tuple[np.ndarray, np.ndarray]:
    """Solve min_B ||D (X - X B)||^2 + text_weight ||T - T B||^2 + l2 ||B||^2 with a zero diagonal.

    X (U, I): graph tokens of the items, the users who have them. T (W, I): language tokens of the
    items, text_IW transposed. D scales a user of n items by (n / mean n)^(-user_power / 2). Column
    j of B predicts item j from the others. Text helps rare items most, as their users say little.
    Without text and user_power this is EASE. Rows of items without users are held at 0: no user's
    score could come from them, and the other columns are solved without them.

    Returns B (I, I), and (I,) the diagonal of P = (gram + l2)^-1, 0 for items without users. Both
    are float32.
    """
    known = np.asarray(history_UI.sum(0)) > 0
    count_U = np.maximum(np.asarray(history_UI.sum(1), np.float64), 1)
    x, text = history_UI[:, known].astype(np.float64), text_IW[known].astype(np.float64)
    gram = np.asfortranarray(
        (x.T @ (diags_array((count_U / count_U.mean()) ** -user_power) @ x)).toarray()
    )
    gram += text_weight * (text @ text.T)
    weights, diagonal = zero_diagonal_map(gram, l2)
    if not known.all():
        place = np.cumsum(known) - 1  # an item without users reads any row: it is zeroed
        weights, diagonal = (
            weights[np.ix_(place, place)] * np.outer(known, known),
            diagonal[place] * known,
        )
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
    """Estimate the columns of items without users from their text, (I, J): text_weight P T t.

    It is the ridge regression of a new item's language token t on those of the items with users. An
    item without users adds text_weight T^T t to the Gram matrix and nothing else. The zero diagonal
    keeps the item out of its own regressors, so their inverse is P. P v = d v - B (d v), where d is
    the diagonal of P.
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
    """Estimate the columns of known items from their text alone, each left out: (I, N) float32.

    These are leave-one-out estimates: each column is what `columns_from_text` would give if its own
    item had no users. Taking item j out of the regressors makes P v into P v - P_j (P v)_j / P_jj,
    and P_j / P_jj is 1 - B_j.
    """
    estimated, place = (
        columns_from_text(weights_II, diagonal_I, text_IW, text_IW[items_N], text_weight),
        np.arange(len(items_N)),
    )
    estimated += weights_II[:, items_N] * estimated[items_N, place]
    estimated[items_N, place] = 0
    return estimated


def gain_of(known_BN: np.ndarray, estimated_BN: np.ndarray) -> float:
    """Return the ratio of two mean spreads over items: of known scores, and of their estimates.

    The estimates are leave-one-out. Returns 1 where they are constant.
    """
    spread = float(estimated_BN.std(1).mean())
    return float(known_BN.std(1).mean()) / spread if spread > 0 else 1.0


def evenly(among: np.ndarray, limit: int = 1000) -> np.ndarray:
    """Take at most `limit` entries, evenly spaced."""
    return among[np.arange(limit) * among.size // limit] if among.size > limit else among


def only(pairs: Interactions, items: np.ndarray) -> Interactions:
    """Keep the pairs of some items, ascending, which become the whole catalogue."""
    place = np.searchsorted(items, pairs.item).clip(max=items.size - 1)
    kept = items[place] == pairs.item
    return Interactions(pairs.user[kept], place[kept], pairs.num_users, items.size)


def simplex(steps: int) -> np.ndarray:
    """List all (matched, graph, text) weights that add up to 1, in `steps` equal parts from 0 to 1.

    Returns (S, 3).
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

    Each component is standardised per user over the items with training users. matched: the user's
    items through `token_map`. graph: LightGCN. text: text-kNN. Users without a node are placed by
    their items alone. Items without training users are scored by their item features: in the map by
    `columns_from_text`, in the graph by the embedding that the same column makes of the other
    items' embeddings. Both are multiplied by a gain, one for all such items. Estimates from text
    vary less than scores learnt from users; without the gain no new item would ever reach a list.

    history (U, I): training pairs. weights (I, I), diagonal (I,): see `token_map`. gains: of
    matched and graph, see `calibrated`. mix: the weights that are best on validation NDCG@20.
    new_mix: the weights of items without training users, see `with_new_mix`. The map is that of
    EASE (Steck, WWW 2019, eq. 8) with item features as further rows (after Jeunen et al.,
    "Closed-Form Models for Collaborative Filtering with Side-Information", RecSys 2020).
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
        """Choose the gains, and multiply the items without training users by them, in place.

        A gain is the ratio of two mean spreads over items: of the scores of known items, and of
        their leave-one-out estimates.
        """
        shown, users = (
            evenly(np.flatnonzero(self.diagonal)),
            evenly(np.arange(self.history.shape[0])),
        )
        estimated = leave_one_out_columns(
            self.weights, self.diagonal, self.text.item, shown, self.text_weight
        )
        history, (user, item) = self.history[users], (self.graph.user[users], self.graph.item)
        matched = gain_of(history @ self.weights[:, shown], history @ estimated)
        graph = gain_of(user @ item[shown].T, user @ (estimated.T @ item).T)
        new = self.diagonal == 0
        item[new] = np.float32(graph) * self.weights[:, new].T @ item
        self.weights[:, new] *= np.float32(matched)
        return replace(self, gains=(matched, graph))

    def with_new_mix(self, prepared: Prepared, mixes: np.ndarray) -> Self:
        """Choose new_mix on validation, on leave-one-out estimates of a tenth of the known items.

        At most 1,000 items are estimated, each alone. First comes the mix with the best NDCG@20 of
        lists of these items alone. Then it is multiplied by the greatest strength that costs lists
        of all items no more than NEW_ITEMS_COST. Where text says little, hiding new items would be
        best for lists of all items. mixes: (S, 3). new_mix is mix when no user has one of the
        estimated items in validation.
        """
        from glta.evaluation.validation import validation_ndcgs

        known = np.flatnonzero(self.diagonal)
        shown = evenly(known, min(1000, -(-known.size // 10)))
        few = replace(
            prepared, train=only(prepared.train, shown), valid=only(prepared.valid, shown)
        )
        if not len(few.valid):
            return replace(self, new_mix=self.mix)
        matched_gain, graph_gain = np.float32(self.gains)
        estimated = leave_one_out_columns(
            self.weights, self.diagonal, self.text.item, shown, self.text_weight
        )
        weights, item, diagonal = self.weights.copy(), self.graph.item.copy(), self.diagonal.copy()
        weights[:, shown], item[shown], diagonal[shown] = (
            matched_gain * estimated,
            graph_gain * estimated.T @ self.graph.item,
            0,
        )
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
        borne = np.flatnonzero(values >= (1 - NEW_ITEMS_COST) * values.max())
        return replace(self, new_mix=candidates[borne[-1]].new_mix)

    @property
    def item_mix(self) -> np.ndarray:
        """Each item's own weights of the three components, (3, I) float32."""
        return np.where(
            self.diagonal > 0, *(np.float32(mix)[:, None] for mix in (self.mix, self.new_mix))
        )

    def components(self, users: np.ndarray, without: np.ndarray | None = None) -> list[np.ndarray]:
        """Score by each component alone, standardised: matched, graph, text, each (B, I) float32.

        without: (I,) bool, items to be last in every list: new ones, for or against which
        validation knows nothing.
        """
        matched = self.history[known_users(users, self.history.shape[0])] @ self.weights
        found = self._standardized(matched, self.graph.score(users), self.text.score(users))
        if without is not None:
            for scores in found:
                scores[:, without] = -1e6
        return found

    def _standardized(self, *components: np.ndarray) -> list[np.ndarray]:
        """Standardise over the items with users: the others must not move them."""
        return [standardized(scores, self.diagonal > 0) for scores in components]

    def score(self, users: np.ndarray) -> np.ndarray:
        return mixed(self.components(users), self.item_mix)

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        matched = checked(history_BI, len(self.weights)) @ self.weights
        alone = (part.score_histories(history_BI) for part in (self.graph, self.text))
        return mixed(self._standardized(matched, *alone), self.item_mix)

    def extended(self, text_JW: np.ndarray) -> Self:
        num, text = len(text_JW), self.text.extended(text_JW)
        estimated = columns_from_text(
            self.weights, self.diagonal, self.text.item, text.item[-num:], self.text_weight
        )
        matched_gain, graph_gain = self.gains
        users, size = self.history.shape[0], len(self.weights) + num
        graph = replace(
            self.graph,
            item=np.concatenate(
                [self.graph.item, np.float32(graph_gain) * estimated.T @ self.graph.item]
            ),
            message=np.pad(self.graph.message, [(0, num), (0, 0)]),
        )
        return replace(
            self,
            history=csr_array(
                (self.history.data, self.history.indices, self.history.indptr), shape=(users, size)
            ),
            weights=np.pad(
                np.concatenate([self.weights, np.float32(matched_gain) * estimated], axis=1),
                [(0, num), (0, 0)],
            ),
            diagonal=np.pad(self.diagonal, (0, num)),
            graph=graph,
            text=text,
        )

    def save(self, folder: Path) -> None:
        arrays = joined({"graph": self.graph.arrays, "text": self.text.arrays}) | sparse_arrays(
            "history", self.history
        )
        arrays |= {"weights": self.weights, "diagonal": self.diagonal}
        save_arrays(folder / "model.safetensors", arrays)
        # the map without its diagonal, and the free weights
        count = self.weights.size - len(self.weights) + self.graph.trainable_parameters + 2 + 3
        mixes = {
            name: dict(zip(COMPONENTS, getattr(self, name), strict=False))
            for name in ("mix", "new_mix", "gains")
        }
        write_about(
            folder,
            "glta-plus",
            trainable_parameters=count,
            text_weight=self.text_weight,
            **mixes,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        arrays, _ = load_arrays(folder / "model.safetensors")
        about = read_about(folder, "glta-plus")
        graph, text = GraphScores(**part_of(arrays, "graph")), TextScores(**part_of(arrays, "text"))
        mix, new_mix, gains = (
            tuple(about[name][e] for e in COMPONENTS if e in about[name])
            for name in ("mix", "new_mix", "gains")
        )
        history = sparse_from("history", arrays)
        return cls(
            history,
            arrays["weights"],
            arrays["diagonal"],
            about["text_weight"],
            gains,
            graph,
            text,
            mix,
            new_mix,
        )


def mixed(components: list[np.ndarray], mix: np.ndarray) -> np.ndarray:
    """Add up components by their weights, (3,) or (3, I). Returns a fresh (B, I) float32."""
    return sum(
        weight * component for weight, component in zip(np.float32(mix), components, strict=True)
    )


class MatchTokens(Step):
    """Solve for the token map, and choose the weights of the components on validation."""

    def run(self, job: Job) -> GLTAPlus:
        """Raise ValueError when the catalogue is larger than settings.glta-plus.max_items."""
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
            history,
            weights,
            diagonal,
            settings.text_weight,
            (1.0, 1.0),
            graph,
            text,
            (1, 0, 0),
            (1, 0, 0),
        ).calibrated()
        left_out = [component not in settings.components for component in COMPONENTS]
        mixes = simplex(settings.weight_steps)
        mixes = mixes[(mixes[:, left_out] == 0).all(1)]

        def candidates(users: np.ndarray) -> Iterator[np.ndarray]:
            components = model.components(users, without=model.diagonal == 0)
            return (mixed(components, mix) for mix in mixes)

        # equal lists may differ in the last bit of their sum, which must not choose among them
        values = validation_ndcgs(prepared, candidates).round(12)
        best = tuple(mixes[np.argmax(values)].tolist())
        return replace(model, mix=best).with_new_mix(prepared, mixes)
