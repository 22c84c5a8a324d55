"""Features of items from their texts: states of a language model, words, or both."""

# I items, J new items, W language width, R rank of the word vectors, F text features
from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from glta.features.profiles import Profiles
from glta.methods.base import Job
from glta.methods.shared.text_space import mean_state
from glta.methods.shared.text_words import word_vectors


class TextFeatures(NamedTuple):
    """Hold the text features of items, and what is needed for items that are added later.

    item: (I, F) float32, also of items without training users. mean: (W,), the centre of the text
    states. text_map: (W, F), maps centred states to features. These two are None without a language
    model.
    """

    item: np.ndarray
    mean: np.ndarray | None = None
    text_map: np.ndarray | None = None

    @classmethod
    def of(cls, job: Job, *, state_share: float, rank: int) -> Self:
        """Make the features from what the stage `profile` wrote.

        States and words are centred, and each have a mean length of 1 over the items with training
        users. state_share: how much of a squared feature vector are states; 0: words alone, 1:
        states alone. rank: of the word vectors, R at most.
        """
        known = job.prepared.train.item_degree > 0
        profiles = Profiles.load(job.source("profile"), job.prepared.train)
        if state_share == 1:  # words of weight 0 would count as directions of a penalty
            words = np.zeros((len(known), 0), np.float32)
        else:
            words = word_vectors(profiles.items["text"], rank, job.seed)
        words = evened(words - words[known].mean(0), known) * np.float32(1 - state_share) ** 0.5
        if not state_share:
            return cls(words.astype(np.float32))
        mean = mean_state(profiles.item_states, job.prepared.train)
        states = profiles.item_states - mean
        scale = evened_scale(states, known) * np.float32(state_share) ** 0.5
        features = np.concatenate([scale * states, words], axis=1)
        # the words of an item that is added later are not at hand, so its state predicts them
        to_words = ridge_inverse(states[known], 1.0) @ (states[known].T @ words[known])
        text_map = np.concatenate([scale * np.eye(mean.size), to_words], 1, dtype=np.float32)
        return cls(features.astype(np.float32), mean, text_map)


def mapped_states(
    text_JW: np.ndarray, mean: np.ndarray | None, text_map: np.ndarray | None, method: str
) -> np.ndarray:
    """Return the features of new items from their text states, (J, F).

    mean, text_map: see `TextFeatures`. Raises ValueError, with the method's name, when the features
    are words alone.
    """
    if mean is None or text_map is None:
        raise ValueError(
            f"{method} needs the words of an item to score it, and gets its text state alone: it "
            "cannot take new items"
        )
    return (text_JW - mean) @ text_map


def evened_scale(rows_IF: np.ndarray, known: np.ndarray) -> np.float32:
    """Return the factor that gives rows of known items a mean length of 1; 1 if all are 0."""
    length = float(np.linalg.norm(rows_IF[known], axis=1).mean())
    return np.float32(1 / length if length else 1)


def evened(rows_IF: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Scale rows so that those of known items have a mean length of 1."""
    return rows_IF * evened_scale(rows_IF, known)


def ridge_inverse(rows_KF: np.ndarray, l2: float) -> np.ndarray:
    """Return (T^T T + l2 m I)^-1, (F, F) float32, with m the mean eigenvalue of T^T T.

    The identity is returned when all rows are 0.
    """
    gram = rows_KF.T.astype(np.float64) @ rows_KF
    eye = np.eye(len(gram))
    level = np.trace(gram) / max(len(gram), 1)
    if not level:
        return eye.astype(np.float32)
    return cho_solve(cho_factor(gram + l2 * level * eye), eye).astype(np.float32)
