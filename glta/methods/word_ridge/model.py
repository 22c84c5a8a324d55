"""Word ridge: ridge regression of users on the words of items, without a language model."""

from __future__ import annotations

from glta.methods.base import Job, Step
from glta.methods.shared.settings import WordRidgeSettings
from glta.methods.shared.text_ridge import RidgeScores


class WordRidge(RidgeScores):
    """Score by ridge regression of users on words: the control of what a language model adds."""

    name = "word-ridge"


class FitWordRidge(Step):
    """Fit all users in closed form."""

    def run(self, job: Job) -> WordRidge:
        settings = job.own(WordRidgeSettings)
        return WordRidge.fitted(job, state_share=0, rank=settings.word_rank, l2=settings.l2)
