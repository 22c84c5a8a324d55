"""Transitions + text: transitions from the user's items, and items with similar texts."""

# I items, W width of the text vectors
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from glta.data.words import BREAK, with_breaks
from glta.features.profiles import Profiles
from glta.methods.base import Job, Step
from glta.methods.shared.text_space import text_vectors
from glta.methods.shared.transition_counts import TransitionScores
from glta.methods.transitions_text.spec import TextTransitionSettings


def tfidf(texts: pl.Series) -> csr_array:
    """Compute TF-IDF vectors of texts: sparse (I, W) float32, W words, rows of length 1 or 0.

    A word counts 1 + log(its number in the text), times 1 + log((1 + I) / (1 + texts with it)).
    Words have two characters at least; small and large letters are alike.
    """
    # imported here, as it takes a second
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = with_breaks(texts).str.replace_all(BREAK, " ", literal=True)
    try:
        vectors = TfidfVectorizer(sublinear_tf=True, dtype=np.float32).fit_transform(words)
    except ValueError:  # no text has a word
        return csr_array((len(texts), 1), dtype=np.float32)
    return csr_array(vectors)


@dataclass(frozen=True)
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
