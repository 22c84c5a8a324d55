"""Transitions + text: transitions from the user's items, and items with similar texts."""

# U users, I items, B users of a block, W width of the text vectors
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from glta.data.histories import known_users
from glta.data.words import BREAK, with_breaks
from glta.features.profiles import Profiles
from glta.methods.base import Job, Step
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.text_space import text_vectors
from glta.methods.shared.transition_counts import TransitionScores
from glta.methods.transitions_text.spec import TextTransitionSettings
from glta.storage.arrays import load_arrays, save_arrays, sparse_arrays, sparse_from


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
    """Score by transitions from the user's items, and by their texts.

    score(j) = sum_i decay^age(i) (log(1 + count(i, j)) + weight cos(text(i), text(j)))
        + popularity log(1 + users(j))
    See `TransitionScores`.
    text: (I, W) sparse or dense float32, the texts' vectors of length 1 or 0.
    """

    text: csr_array | np.ndarray
    weight: float

    def score(self, users: np.ndarray) -> np.ndarray:
        recent_BI = self.recent[known_users(users, self.recent.shape[0])]
        of_user_BW = recent_BI @ self.text
        if isinstance(self.text, np.ndarray):
            from glta.evaluation.ranking import dot_products

            similar_BI = dot_products(of_user_BW, self.text)
        else:
            similar_BI = (of_user_BW @ self.text.T).toarray()
        return super().score(users) + np.float32(self.weight) * similar_BI

    def save(self, folder: Path) -> None:
        dense = isinstance(self.text, np.ndarray)
        text = {"text": self.text} if dense else sparse_arrays("text", self.text)
        meta = self.meta() | {"weight": self.weight}
        save_arrays(folder / "model.safetensors", self.arrays() | text, meta)
        write_about(folder, "transitions-text", trainable_parameters=0)

    @classmethod
    def load(cls, folder: Path) -> Self:
        read_about(folder, "transitions-text")
        arrays, meta = load_arrays(folder / "model.safetensors")
        text: Any = arrays["text"] if "text" in arrays else sparse_from("text", arrays)
        return cls(**cls.parts(arrays), text=text, **meta)


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
