"""LightGCN + text-kNN: the control that every method using text has to beat."""

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
    """Score by weight * graph + (1 - weight) * text, each standardised per user over the catalogue.

    weight: in [0, 1], best on validation NDCG@20, the smallest of equals. curve: {"weight",
    "valid"} of all weights tried.
    """

    graph: GraphScores
    text: TextScores
    weight: float
    curve: list[dict]

    def score(self, users: np.ndarray) -> np.ndarray:
        return mixed(
            standardized(self.graph.score(users)), standardized(self.text.score(users)), self.weight
        )

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        graph, text = (
            standardized(part.score_histories(history_BI)) for part in (self.graph, self.text)
        )
        return mixed(graph, text, self.weight)

    def save(self, folder: Path) -> None:
        save_arrays(
            folder / "model.safetensors",
            joined({"graph": self.graph.arrays, "text": self.text.arrays}),
        )
        count = self.graph.trainable_parameters + 1  # and the weight
        write_about(
            folder,
            "lightgcn-text-knn",
            trainable_parameters=count,
            weight=self.weight,
            curve=self.curve,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        arrays, _ = load_arrays(folder / "model.safetensors")
        about = read_about(folder, "lightgcn-text-knn")
        graph, text = GraphScores(**part_of(arrays, "graph")), TextScores(**part_of(arrays, "text"))
        return cls(graph, text, about["weight"], about["curve"])


def mixed(graph_BI: np.ndarray, text_BI: np.ndarray, weight: float) -> np.ndarray:
    """Average two scores. Returns a fresh (B, I) float32."""
    return np.float32(weight) * graph_BI + np.float32(1 - weight) * text_BI


def mixing_curve(
    prepared: Prepared, graph: Scorer, text: Scorer, weights: np.ndarray
) -> np.ndarray:
    """Measure validation NDCG@20 for every weight (S,), scoring each user once.

    Returns (S,) float64.
    """
    from glta.evaluation.validation import validation_ndcgs

    def scores(users: np.ndarray) -> Iterator[np.ndarray]:
        graph_BI, text_BI = standardized(graph.score(users)), standardized(text.score(users))
        return (mixed(graph_BI, text_BI, weight) for weight in weights)

    return validation_ndcgs(prepared, scores)


class ChooseWeight(Step):
    """Choose the weight that is best on validation; of equal ones the smallest."""

    def run(self, job: Job) -> LightGCNTextKNN:
        settings = job.own(LightGCNTextKNNSettings)
        graph = GraphScores.of(job.source("pretrain-all"), job.prepared.train)
        text = TextScores.of(job)
        weights = np.linspace(0, 1, settings.weight_steps).round(6)
        # equal lists may differ in the last bit of their sum, which must not choose among them
        values = mixing_curve(job.prepared, graph, text, weights).round(12)
        curve = [
            {"weight": float(weight), "valid": float(value)}
            for weight, value in zip(weights, values, strict=True)
        ]
        return LightGCNTextKNN(graph, text, float(weights[np.argmax(values)]), curve)
