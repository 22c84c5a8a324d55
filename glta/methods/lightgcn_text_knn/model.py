"""LightGCN + text-kNN: a simple baseline for every method that uses text."""

# U users, I items, D graph width, W language width, B users of a block
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.prepared import Prepared
from glta.methods.base import Job, Scorer, Step
from glta.methods.lightgcn_text_knn.spec import LightGCNTextKNNSettings
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.graph_scores import GraphScores
from glta.methods.shared.standardized import standardized
from glta.methods.shared.text_space import TextScores
from glta.storage.arrays import joined, load_arrays, part_of, save_arrays


@dataclass(frozen=True)
class LightGCNTextKNN(Scorer):
    """Score by weight * graph + (1 - weight) * text, each standardised per user over all items.

    weight: from 0 to 1; the one with the best validation NDCG@20, of equals the smallest.
    curve: {"weight": ..., "valid": NDCG@20} for each weight that was tried.
    """

    graph: GraphScores
    text: TextScores
    weight: float
    curve: list[dict]

    def score(self, users: np.ndarray) -> np.ndarray:
        graph_BI = standardized(self.graph.score(users))
        text_BI = standardized(self.text.score(users))
        return mixed(graph_BI, text_BI, self.weight)

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        graph_BI = standardized(self.graph.score_histories(history_BI))
        text_BI = standardized(self.text.score_histories(history_BI))
        return mixed(graph_BI, text_BI, self.weight)

    def save(self, folder: Path) -> None:
        arrays = joined({"graph": self.graph.arrays, "text": self.text.arrays})
        save_arrays(folder / "model.safetensors", arrays)
        count = self.graph.trainable_parameters + 1  # the weight is the one more
        write_about(
            folder,
            "lightgcn-text-knn",
            trainable_parameters=count,
            weight=self.weight,
            curve=self.curve,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        about = read_about(folder, "lightgcn-text-knn")
        arrays, _ = load_arrays(folder / "model.safetensors")
        graph = GraphScores(**part_of(arrays, "graph"))
        text = TextScores(**part_of(arrays, "text"))
        return cls(graph, text, about["weight"], about["curve"])


def mixed(graph_BI: np.ndarray, text_BI: np.ndarray, weight: float) -> np.ndarray:
    """Compute weight * graph + (1 - weight) * text, (B, I) float32."""
    return np.float32(weight) * graph_BI + np.float32(1 - weight) * text_BI


def mixing_curve(
    prepared: Prepared, graph: Scorer, text: Scorer, weights: np.ndarray
) -> np.ndarray:
    """Compute validation NDCG@20 for every weight: (S,) float64. Each user is scored only once.

    weights: (S,).
    """
    from glta.evaluation.validation import validation_ndcgs

    def scores(users: np.ndarray) -> Iterator[np.ndarray]:
        graph_BI = standardized(graph.score(users))
        text_BI = standardized(text.score(users))
        return (mixed(graph_BI, text_BI, weight) for weight in weights)

    return validation_ndcgs(prepared, scores)


class ChooseWeight(Step):
    """Choose the weight with the best validation NDCG@20, of equals the smallest."""

    def run(self, job: Job) -> LightGCNTextKNN:
        settings = job.own(LightGCNTextKNNSettings)
        graph = GraphScores.of(job.source("pretrain-all"), job.prepared.train)
        text = TextScores.of(job, settings.singular_power)
        weights = np.linspace(0, 1, settings.weight_steps).round(6)
        # equal lists may differ in the last bit of the sum, which must not decide
        values = mixing_curve(job.prepared, graph, text, weights).round(12)
        curve = [
            {"weight": float(weight), "valid": float(value)}
            for weight, value in zip(weights, values, strict=True)
        ]
        return LightGCNTextKNN(graph, text, float(weights[np.argmax(values)]), curve)
