"""GLTA+: GLTA's read-outs, together with linear, graph and text evidence."""

from __future__ import annotations

from glta.methods.base import Job, Step
from glta.methods.glta_plus.spec import GLTAPlusSettings
from glta.methods.shared.blended import Blended


class GLTAPlus(Blended):
    """Score by a weighted sum of GLTA's read-outs and of other evidence."""

    name = "glta-plus"


class ChooseEvidence(Step):
    """Choose the weights with the best validation NDCG@20. The components were trained before."""

    def run(self, job: Job) -> GLTAPlus:
        settings = job.own(GLTAPlusSettings)
        return GLTAPlus.fitted(job, settings.components, settings.weight_steps)
