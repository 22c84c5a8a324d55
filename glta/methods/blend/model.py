"""Blend: a weighted sum of the scores of several methods."""

from __future__ import annotations

from glta.methods.base import Job, Step
from glta.methods.blend.spec import BlendSettings
from glta.methods.shared.blended import Blended


class Blend(Blended):
    """Score by a weighted sum of the standardised scores of several methods."""

    name = "blend"


class ChooseWeights(Step):
    """Choose the weights with the best validation NDCG@20. The components were trained before."""

    def run(self, job: Job) -> Blend:
        settings = job.own(BlendSettings)
        return Blend.fitted(job, settings.components, settings.weight_steps)
