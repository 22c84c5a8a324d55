"""LightGCN + text-kNN: a simple baseline for every method that uses text."""

from __future__ import annotations

from glta.methods.base import Job, Step
from glta.methods.lightgcn_text_knn.spec import LightGCNTextKNNSettings
from glta.methods.shared.blended import Blended


class LightGCNTextKNN(Blended):
    """Score by a weighted sum of LightGCN and text-kNN, each standardised per user."""

    name = "lightgcn-text-knn"


class ChooseWeight(Step):
    """Choose the weight with the best validation NDCG@20, of equals the smallest of LightGCN."""

    def run(self, job: Job) -> LightGCNTextKNN:
        settings = job.own(LightGCNTextKNNSettings)
        return LightGCNTextKNN.fitted(job, ("lightgcn", "text-knn"), settings.weight_steps)
