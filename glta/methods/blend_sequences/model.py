"""Blend of sequences: a weighted sum of methods that read the order of items, and CEASE."""

from __future__ import annotations

from glta.methods.shared.blended import Blended, ChooseWeights


class SequenceBlend(Blended):
    """Score by a weighted sum of the standardised scores of several methods."""

    name = "blend-sequences"


class ChooseSequenceWeights(ChooseWeights):
    """Choose the weights of methods that read the order of items, and of a linear map."""

    result = SequenceBlend
