"""Blend of sequences: a weighted sum of methods that read the order of items, and CEASE."""

from __future__ import annotations

from glta.methods.base import Job, Step
from glta.methods.blend_sequences.spec import SequenceBlendSettings
from glta.methods.shared.blended import Blended


class SequenceBlend(Blended):
    """Score by a weighted sum of the standardised scores of several methods."""

    name = "blend-sequences"


class ChooseSequenceWeights(Step):
    """Choose the weights with the best validation NDCG@20. The components were trained before."""

    def run(self, job: Job) -> SequenceBlend:
        settings = job.own(SequenceBlendSettings)
        return SequenceBlend.fitted(job, settings.components, settings.weight_steps)
