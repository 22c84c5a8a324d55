"""Blend: a weighted sum of the scores of several methods."""

from __future__ import annotations

from glta.methods.shared.blended import Blended, ChooseWeights


class Blend(Blended):
    """Score by a weighted sum of the standardised scores of several methods."""

    name = "blend"


class ChooseBlend(ChooseWeights):
    """Choose the weights of the methods."""

    result = Blend
