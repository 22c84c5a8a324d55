"""Text ridge: ridge regression of users on what a language model and words say of items."""

from __future__ import annotations

from glta.methods.base import Job, Step
from glta.methods.shared.text_ridge import RidgeScores
from glta.methods.text_ridge.spec import TextRidgeSettings


class TextRidge(RidgeScores):
    """Score by ridge regression of users on text states and words."""

    name = "text-ridge"


class FitTextRidge(Step):
    """Fit all users in closed form."""

    def run(self, job: Job) -> TextRidge:
        settings = job.own(TextRidgeSettings)
        return TextRidge.fitted(
            job, state_share=settings.state_share, rank=settings.word_rank, l2=settings.l2
        )
