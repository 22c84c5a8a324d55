"""Transitions + text: transitions from the user's items, and items with similar texts."""

from __future__ import annotations

from glta.features.profiles import Profiles
from glta.methods.base import Job, Step
from glta.methods.shared.text_space import text_vectors
from glta.methods.shared.text_words import tfidf
from glta.methods.shared.transition_counts import TransitionScores
from glta.methods.transitions_text.spec import TextTransitionSettings


class TextTransitions(TransitionScores):
    """Score by transitions from the user's items, and by their texts, see `TransitionScores`."""

    name = "transitions-text"


class CountAndCompare(Step):
    """Count which item follows which, and compute the vectors of the texts.

    `run` raises ValueError for data without times.
    """

    def run(self, job: Job) -> TextTransitions:
        settings = job.own(TextTransitionSettings)
        train = job.prepared.timed("transitions-text")
        profiles = Profiles.load(job.source("profile"), job.prepared.train)
        if settings.text == "states":
            text = text_vectors(profiles.item_states, job.prepared.train).item
        else:
            text = tfidf(profiles.items["text"])
        return TextTransitions.of(train, settings, text=text, weight=settings.text_weight)
