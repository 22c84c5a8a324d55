"""GLTA+: GLTA's read-outs, together with linear, graph and text evidence."""

from __future__ import annotations

from glta.methods.shared.blended import Blended, ChooseWeights


class GLTAPlus(Blended):
    """Score by a weighted sum of GLTA's read-outs and of other evidence."""

    name = "glta-plus"


class ChooseEvidence(ChooseWeights):
    """Choose the weights of GLTA's read-outs and of other evidence."""

    result = GLTAPlus
