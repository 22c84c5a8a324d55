"""Add up the standardised scores of several methods, with weights chosen on validation.

Items without training users are scored by those components that can score an item by its text, with
weights of their own.
"""

# U users, I items, J new items, N chosen items, C components, B users of a block, S mixes
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self, cast

import numpy as np
from scipy.sparse import csr_array

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.data.sequences import Sequences
from glta.methods.base import Job, Scorer, Step
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.component import Component
from glta.methods.shared.graph_scores import GraphScores
from glta.methods.shared.item_map import ItemMap
from glta.methods.shared.read_outs import ReadOutScores
from glta.methods.shared.sequence_model import SequenceModel
from glta.methods.shared.settings import WeightSettings
from glta.methods.shared.side_information import SideInformationMap, evenly, gain_of
from glta.methods.shared.standardized import standardized
from glta.methods.shared.text_ridge import RidgeScores
from glta.methods.shared.text_space import TextScores
from glta.methods.shared.transition_counts import TransitionScores
from glta.storage.arrays import joined, load_arrays, part_of, save_arrays

KINDS: dict[str, type[Component]] = {
    "ease": ItemMap,
    "cease": SideInformationMap,
    "lightgcn": GraphScores,
    "text-knn": TextScores,
    "text-ridge": RidgeScores,
    "word-ridge": RidgeScores,
    "glta": ReadOutScores,
    "transitions": TransitionScores,
    "transitions-text": TransitionScores,
    "sasrec": SequenceModel,
    "sasrec-text": SequenceModel,
}
"""The methods that may be components, and the classes that score what they saved."""

STRENGTHS = np.array([0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0])
"""Factors for the scores of new items that are tried on validation; ascending."""

NEW_ITEMS_COST = 0.01
"""Share of the best validation NDCG@20 that may be lost, so that new items can reach a list."""

Mix = tuple[float, ...]
"""Weights of the components, in their order."""


def simplex(steps: int, size: int) -> np.ndarray:
    """List all weights of `size` components that add up to 1: (S, size), ascending row by row.

    Each weight is one of `steps` values, evenly from 0 to 1.
    """
    parts = steps - 1
    whole = [
        (*first, parts - sum(first))
        for first in itertools.product(range(steps), repeat=size - 1)
        if sum(first) <= parts
    ]
    return np.array(whole) / parts


def mixed(components: Sequence[np.ndarray], mix: np.ndarray) -> np.ndarray:
    """Return the weighted sum of component scores, (B, I) float32. mix: (C,) or (C, I)."""
    total = np.zeros_like(components[0])
    for weight, component in zip(np.asarray(mix, np.float32), components, strict=True):
        total += weight * component
    return total


def only(pairs: Interactions, items: np.ndarray) -> Interactions:
    """Keep the pairs of some items. These items are numbered anew from 0.

    items: ids, ascending.
    """
    place = np.searchsorted(items, pairs.item).clip(max=items.size - 1)
    kept = items[place] == pairs.item
    return Interactions(pairs.user[kept], place[kept], pairs.num_users, items.size)


@dataclass(frozen=True)
class Blended(Scorer):
    """Score by a weighted sum of component scores.

    Each component score is standardised per user over the items with training users.

    Items without training users are scored by the components that score an item by its text: CEASE,
    text-kNN, text ridge, word ridge and SASRec + text. With CEASE among the components, LightGCN is
    one more: the embedding of such an item is the sum of the other items' embeddings with the
    weights of the item's column of the map, times a gain (`gain_of`).

    name: of the method. parts: the components by the names of their methods, in their order.
    known: (I,) bool, the items with training users. mix: the weights with the best validation
    NDCG@20. new_mix: the weights for items without training users, see `with_new_mix`. gain: of the
    embeddings of such items.
    """

    name: ClassVar[str]
    parts: Mapping[str, Component]
    known: np.ndarray
    mix: Mix
    new_mix: Mix
    gain: float = 1.0

    @classmethod
    def fitted(cls, job: Job, names: Sequence[str], weight_steps: int) -> Self:
        """Read the components that their methods saved, and choose the weights on validation.

        names: of the methods; the step reads their folders. weight_steps: see `simplex`.
        """
        parts = {name: KINDS[name].read(job.source(name), name) for name in names}
        first = (1.0, *(len(names) - 1) * (0.0,))
        blend = cls(parts, job.prepared.train.item_degree > 0, first, first).calibrated()
        mixes = simplex(weight_steps, len(names))
        return blend.with_mix(job.prepared, mixes).with_new_mix(job.prepared, mixes)

    def calibrated(self) -> Self:
        """Choose the gain, and give the graph embeddings of items without training users.

        It needs the components CEASE and LightGCN. The gain is computed over at most 1,000 known
        items and users.
        """
        cease, graph = self.parts.get("cease"), self.parts.get("lightgcn")
        if not (isinstance(cease, SideInformationMap) and isinstance(graph, GraphScores)):
            return self
        shown = evenly(np.flatnonzero(self.known))
        user = graph.user[evenly(np.arange(len(graph.user)))]
        item = graph.item.copy()
        estimated = cease.columns_left_out(shown)
        gain = gain_of(user @ item[shown].T, user @ (estimated.T @ item).T)
        new = ~self.known
        item[new] = np.float32(gain) * cease.columns_of(cease.text[new]).T @ item
        parts = {**self.parts, "lightgcn": replace(graph, item=item)}
        return replace(self, parts=parts, gain=gain)

    def with_mix(self, prepared: Prepared, mixes: np.ndarray) -> Self:
        """Choose the mix with the best validation NDCG@20, of equals the first. mixes: (S, C)."""
        from glta.evaluation.validation import validation_ndcgs

        def candidates(users: np.ndarray) -> Iterator[np.ndarray]:
            components = self.components(users, without=~self.known)
            return (mixed(components, mix) for mix in mixes)

        # equal lists may differ in the last bit of the sum, which must not decide
        values = validation_ndcgs(prepared, candidates).round(12)
        return replace(self, mix=tuple(mixes[np.argmax(values)].tolist()))

    def with_new_mix(self, prepared: Prepared, mixes: np.ndarray) -> Self:
        """Choose new_mix on validation, where some known items stand for new ones.

        These are a tenth of the known items, at most 1,000, see `as_new`. Of `mixes` (S, C), those
        are tried that have no weight for a component which cannot score an item by its text. The
        one with the best NDCG@20 is chosen for lists of these items alone. It is then multiplied by
        the greatest of STRENGTHS that loses at most NEW_ITEMS_COST of the best NDCG@20 in lists of
        all items.
        The strength is not chosen by that NDCG@20 alone, because where text predicts little, lists
        without new items would be best. new_mix is mix when no validation pair has one of these
        items, and when no component can score an item by its text.
        """
        from glta.evaluation.validation import (
            has_validation_pairs,
            measured_users,
            validation_ndcgs,
        )

        mixes = mixes[(mixes[:, ~self.by_text] == 0).all(1)]
        known = np.flatnonzero(self.known)
        shown = evenly(known, min(1000, -(-known.size // 10)))
        few = replace(
            prepared, train=only(prepared.train, shown), valid=only(prepared.valid, shown)
        )
        if not len(mixes) or not has_validation_pairs(few):
            return replace(self, new_mix=self.mix)
        blend = self.as_new(shown)
        # also users without a training item among those shown: a new item's users have none either
        users = measured_users(prepared)
        users = users[few.valid.user_degree[users] > 0]
        users = users if users.size else np.flatnonzero(few.valid.user_degree)

        def among_shown(block: np.ndarray) -> Iterator[np.ndarray]:
            components = [scores[:, shown] for scores in blend.components(block)]
            return (mixed(components, mix) for mix in mixes)

        mix = mixes[np.argmax(validation_ndcgs(few, among_shown, users=users).round(12))]
        candidates = [
            replace(blend, new_mix=tuple((strength * mix).tolist())) for strength in STRENGTHS
        ]

        def among_all(users: np.ndarray) -> Iterator[np.ndarray]:
            components = blend.components(users, without=~self.known)
            return (mixed(components, candidate.item_mix) for candidate in candidates)

        values = validation_ndcgs(prepared, among_all).round(12)
        allowed = np.flatnonzero(values >= (1 - NEW_ITEMS_COST) * values.max())
        return replace(self, new_mix=candidates[allowed[-1]].new_mix)

    @property
    def by_text(self) -> np.ndarray:
        """(C,) bool: the components that can score an item by its text."""
        return np.array(
            [
                part.by_text or (name == "lightgcn" and "cease" in self.parts)
                for name, part in self.parts.items()
            ]
        )

    def as_new(self, items_N: np.ndarray) -> Self:
        """Score known items as if they had no training users, by leave-one-out estimates."""
        parts = {name: part.as_new(items_N) for name, part in self.parts.items()}
        cease, graph = self.parts.get("cease"), self.parts.get("lightgcn")
        if isinstance(cease, SideInformationMap) and isinstance(graph, GraphScores):
            item = graph.item.copy()
            item[items_N] = np.float32(self.gain) * cease.columns_left_out(items_N).T @ graph.item
            parts["lightgcn"] = replace(graph, item=item)
        known = self.known.copy()
        known[items_N] = False
        return replace(self, parts=parts, known=known)

    @property
    def item_mix(self) -> np.ndarray:
        """Each item's weights of the components, (C, I) float32."""
        known_mix = np.array(self.mix, np.float32)[:, None]
        new_mix = np.array(self.new_mix, np.float32)[:, None]
        return np.where(self.known, known_mix, new_mix)

    def components(self, users: np.ndarray, without: np.ndarray | None = None) -> list[np.ndarray]:
        """Return the standardised scores of each component, each (B, I) float32.

        without: (I,) bool, items that get the lowest score. Used on validation for items without
        training users, which are in no list that the weights of known items decide.
        """
        found = [self._standardized(part.score(users)) for part in self.parts.values()]
        if without is not None:
            for scores in found:
                scores[:, without] = -1e6
        return found

    def _standardized(self, scores_BI: np.ndarray) -> np.ndarray:
        """Standardise over the items with training users. New items do not change the scores."""
        return standardized(scores_BI, self.known)

    def score(self, users: np.ndarray) -> np.ndarray:
        return mixed(self.components(users), self.item_mix)

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        if any(part.reads_order for part in self.parts.values()):
            return super().score_histories(history_BI)
        return self._of_newcomers(lambda part: part.score_histories(history_BI))

    def score_newcomers(self, histories: Sequences) -> np.ndarray:
        if any(part.reads_order for part in self.parts.values()):
            return super().score_newcomers(histories)
        return self._of_newcomers(lambda part: part.score_newcomers(histories))

    def _of_newcomers(self, score: Callable[[Component], np.ndarray]) -> np.ndarray:
        """Add up the scores of the parts that know newcomers. score: of one part, (B, I)."""
        able = self.for_newcomers()
        found = [self._standardized(score(part)) for part in able.parts.values()]
        return mixed(found, able.item_mix)

    def for_newcomers(self) -> Self:
        """Leave out parts that do not know newcomers, such as the read-outs of GLTA.

        The other weights grow in proportion, or are equal when they are all 0.
        """
        parts = {name: part for name, part in self.parts.items() if part.knows_newcomers}
        if len(parts) == len(self.parts):
            return self
        kept = [name in parts for name in self.parts]
        mix, new_mix = (np.array(each)[kept] for each in (self.mix, self.new_mix))
        mix = mix / mix.sum() if mix.any() else np.full(mix.size, 1 / mix.size)
        return replace(self, parts=parts, mix=tuple(mix.tolist()), new_mix=tuple(new_mix.tolist()))

    def with_histories(self, histories: Sequences) -> Self:
        parts = {name: part.with_histories(histories) for name, part in self.parts.items()}
        return replace(self, parts=parts)

    def extended(self, text_JW: np.ndarray) -> Self:
        if not self.by_text.any():
            raise ValueError(
                f"{type(self).__name__} needs interactions to score an item: it cannot take new "
                "items, because none of its components scores items by their text"
            )
        num = len(text_JW)
        parts = {
            name: cast("Component", part.extended(text_JW))
            if part.by_text
            else part.with_unknown(num)
            for name, part in self.parts.items()
        }
        cease, graph = self.parts.get("cease"), self.parts.get("lightgcn")
        if isinstance(cease, SideInformationMap) and isinstance(graph, GraphScores):
            columns = cease.columns_of(cease.placed(text_JW))
            parts["lightgcn"] = graph.widened(np.float32(self.gain) * columns.T @ graph.item)
        return replace(self, parts=parts, known=np.pad(self.known, (0, num)))

    def save(self, folder: Path) -> None:
        arrays = joined({name: part.arrays for name, part in self.parts.items()})
        save_arrays(folder / "model.safetensors", arrays | {"known": self.known})
        fitted = sum(part.trainable_parameters for part in self.parts.values())
        free = 2 * len(self.parts) - 1  # the weights of mix add up to 1, those of new_mix do not
        write_about(
            folder,
            self.name,
            trainable_parameters=fitted + free,
            components=list(self.parts),
            parts={name: part.about for name, part in self.parts.items()},
            mix=dict(zip(self.parts, self.mix, strict=True)),
            new_mix=dict(zip(self.parts, self.new_mix, strict=True)),
            gain=self.gain,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        about = read_about(folder, cls.name)
        arrays, _ = load_arrays(folder / "model.safetensors")
        names = about["components"]
        parts = {
            name: KINDS[name].rebuilt(part_of(arrays, name), about["parts"][name]) for name in names
        }
        mix, new_mix = (tuple(about[key][name] for name in names) for key in ("mix", "new_mix"))
        return cls(parts, arrays["known"], mix, new_mix, about["gain"])


class ChooseWeights(Step):
    """Choose the weights with the best validation NDCG@20. The components were trained before.

    result: the class of the recommender that `run` returns.
    """

    result: ClassVar[type[Blended]]

    def run(self, job: Job) -> Blended:
        settings = job.own(WeightSettings)
        return self.result.fitted(job, settings.components, settings.weight_steps)
