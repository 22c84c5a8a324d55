"""Compare texts by their words, without a language model."""

# I items, W words, R rank
from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from glta.data.words import BREAK, with_breaks


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


def word_vectors(texts: pl.Series, rank: int, seed: int) -> np.ndarray:
    """Reduce the TF-IDF vectors of texts to their `rank` strongest directions: (I, R) float32.

    R is at most rank, I and W. This is latent semantic analysis (Deerwester et al., 1990): U S of
    the randomised SVD. seed: of its random numbers.
    """
    from sklearn.utils.extmath import randomized_svd

    words = tfidf(texts)
    rank = min(rank, *words.shape)
    left, value, _ = randomized_svd(words, n_components=rank, random_state=seed)
    return (left * value).astype(np.float32)
