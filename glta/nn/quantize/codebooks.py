"""A cascade of codebooks: each level quantises what the levels before left over."""

# I items, L levels, K codes of a level, F width of the quantised rows
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from glta.nn.quantize.k_means import k_means, nearest_centres
from glta.nn.quantize.settings import CodeSettings
from glta.training.seeds import Stream, epoch_rng


@dataclass(frozen=True)
class Codebooks:
    """Hold the vectors of the codes. levels: (L, K, F) float32."""

    levels: np.ndarray

    @property
    def num_levels(self) -> int:
        return self.levels.shape[0]

    @property
    def num_codes(self) -> int:
        """K, the codes of each level."""
        return self.levels.shape[1]

    def nearest(self, rows_IF: np.ndarray) -> np.ndarray:
        """Return the nearest code of what is left over, level by level: (I, L) int32."""
        codes = np.empty((len(rows_IF), self.num_levels), np.int32)
        rest = rows_IF
        for level, book_KF in enumerate(self.levels):
            codes[:, level], _ = nearest_centres(rest, book_KF)
            rest = rest - book_KF[codes[:, level]]
        return codes

    def sums(self, codes_IL: np.ndarray) -> Iterator[np.ndarray]:
        """Yield what 1, 2, ... levels make of items: the sums of their codes' vectors (I, F)."""
        total = np.zeros((len(codes_IL), self.levels.shape[2]), np.float32)
        for level, book_KF in enumerate(self.levels):
            total = total + book_KF[codes_IL[:, level]]
            yield total


def residual_k_means(rows_IF: np.ndarray, settings: CodeSettings, seed: int) -> Codebooks:
    """Cluster rows, then what the centres leave over, and so on, level by level."""
    books = []
    rest = rows_IF
    for level in range(settings.levels):
        found = k_means(
            rest,
            settings.codes,
            epoch_rng(seed, level, Stream.CODES),
            restarts=settings.restarts,
            iterations=settings.iterations,
        )
        books.append(found.centres)
        rest = rest - found.centres[found.cluster]
    return Codebooks(np.stack(books))
