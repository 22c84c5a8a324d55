"""Text-kNN: items whose text is like that of a user's items. Nothing is trained."""

from __future__ import annotations

from glta.methods.base import Job, Step
from glta.methods.shared.text_space import TextScores


class TextKNN(TextScores):
    """Score by the cosine of an item and a user among item texts."""

    name = "text-knn"


class PlaceUsers(Step):
    """Place users among item texts."""

    def run(self, job: Job) -> TextKNN:
        return TextKNN.of(job)
