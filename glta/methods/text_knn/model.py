"""Text-kNN: score items by how similar their text is to the texts of the user's items."""

from __future__ import annotations

from glta.methods.base import Job, Step
from glta.methods.shared.text_space import TextScores
from glta.methods.text_knn.spec import TextKNNSettings


class TextKNN(TextScores):
    """Score by the cosine of a user's and an item's vector in text space."""

    name = "text-knn"


class PlaceUsers(Step):
    """Compute the vectors of users and items. Nothing is trained."""

    def run(self, job: Job) -> TextKNN:
        return TextKNN.of(job, job.own(TextKNNSettings).singular_power)
