"""The rows that codebooks quantise, and the way from vectors of items to them and back."""

# I items, D width of the vectors, W width of the text states, F width of the quantised rows
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from glta.nn.quantize.settings import CodeSettings
from glta.storage.arrays import joined, part_of


@dataclass(frozen=True)
class Centring:
    """Bring vectors to one scale. Rows of zeros stay zeros: nothing is known of these items.

    mean: (D,), is subtracted. scale: the rows are divided by it; 0 scales each row to length 1.
    directions: (D, T), onto which centred rows are projected; None: they are not.
    """

    mean: np.ndarray
    scale: float
    directions: np.ndarray | None = None

    @classmethod
    def of(cls, vectors_ID: np.ndarray, *, unit: bool, width: int | None = None) -> Self:
        """Learn mean and scale. Afterwards the mean squared length of known rows is 1.

        unit: scale each row to length 1. width: of the rows, which are then projected onto so many
        principal directions; None: all. Raises ValueError for numbers that are not finite.
        """
        if not np.isfinite(vectors_ID).all():
            raise ValueError("vectors of items have numbers that are not finite; train them again")
        known = vectors_ID[vectors_ID.any(1)].astype(np.float64)
        mean = known.mean(0) if len(known) else np.zeros(vectors_ID.shape[1])
        directions = None
        if width is not None and width < vectors_ID.shape[1]:
            _, found = np.linalg.eigh((known - mean).T @ (known - mean))
            directions = found[:, ::-1][:, :width].astype(np.float32)
        centring = cls(mean.astype(np.float32), 1.0, directions)
        squares = np.square(centring.rows(vectors_ID)).sum(1, dtype=np.float64)
        spread = (squares.sum() / max(len(known), 1)) ** 0.5
        return replace(centring, scale=0.0 if unit else float(spread) or 1.0)

    @property
    def width(self) -> int:
        """The width of the rows."""
        return len(self.mean) if self.directions is None else self.directions.shape[1]

    def rows(self, vectors_ID: np.ndarray) -> np.ndarray:
        """Return the vectors on the common scale: (I, width) float32.

        Raises ValueError for vectors of another width.
        """
        if vectors_ID.ndim != 2 or vectors_ID.shape[1] != len(self.mean):
            raise ValueError(
                f"vectors of shape {vectors_ID.shape}, but the codes were made from vectors of "
                f"width {len(self.mean)}; use those of the same encoder, or make the codes again"
            )
        moved = (vectors_ID - self.mean) * vectors_ID.any(1, keepdims=True)
        if self.directions is not None:
            moved = moved @ self.directions
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        scale = self.scale or np.where(length > 0, length, 1)
        return (moved / scale).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return mean, scale and directions, to be saved."""
        kept = {} if self.directions is None else {"directions": self.directions}
        return {"mean": self.mean, "scale": np.array([self.scale]), **kept}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Read what `arrays` returned."""
        return cls(arrays["mean"], arrays["scale"].item(), arrays.get("directions"))


class CodeSpace(ABC):
    """Turn vectors and text states of items into the rows that codebooks quantise, and back.

    vector: brings the vectors to one scale.
    """

    vector: Centring

    @abstractmethod
    def rows(
        self, vectors_ID: np.ndarray | None, text_IW: np.ndarray | None
    ) -> tuple[np.ndarray, slice]:
        """Return the rows of items, and which columns of the codebooks they are about.

        None: unknown. Raises ValueError when no row can be made of what is known.
        """

    @abstractmethod
    def decoded(self, rows_IF: np.ndarray) -> np.ndarray:
        """Return the vectors, on the common scale, that rows stand for: (I, D)."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is to be saved."""


@dataclass(frozen=True)
class JoinedSpace(CodeSpace):
    """Join vector and text state: squared distances are those of both parts, added up.

    text: brings the text states to one scale. text_weight: of the text part's squared distances.
    """

    vector: Centring
    text: Centring
    text_weight: float

    @classmethod
    def of(cls, vectors_ID: np.ndarray, text_IW: np.ndarray, settings: CodeSettings) -> Self:
        """Learn the scales. With text_weight 0 there is no text part."""
        vector = Centring.of(vectors_ID, unit=settings.unit_vectors)
        kept = text_IW if settings.text_weight else text_IW[:, :0]
        text = Centring.of(kept, unit=True, width=settings.text_dim)
        return cls(vector, text, settings.text_weight)

    def rows(
        self, vectors_ID: np.ndarray | None, text_IW: np.ndarray | None
    ) -> tuple[np.ndarray, slice]:
        width = self.vector.width
        if not self.text.width:
            text_IW = None
        if vectors_ID is None and text_IW is None:
            raise ValueError(
                "new items need vectors, or text states where codes.text_weight is not 0"
            )
        parts = []
        if vectors_ID is not None:
            parts.append(self.vector.rows(vectors_ID))
        if text_IW is not None:
            parts.append(self.text.rows(text_IW) * np.float32(self.text_weight**0.5))
        begin = width if vectors_ID is None else 0
        end = width if text_IW is None else None
        return np.concatenate(parts, 1), slice(begin, end)

    def decoded(self, rows_IF: np.ndarray) -> np.ndarray:
        return rows_IF[:, : self.vector.width]

    def arrays(self) -> dict[str, np.ndarray]:
        parts = {"vector": self.vector.arrays(), "text": self.text.arrays()}
        return joined(parts) | {"text_weight": np.array([self.text_weight])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Read what `arrays` returned."""
        vector, text = (Centring.from_arrays(part_of(dict(arrays), p)) for p in ("vector", "text"))
        return cls(vector, text, arrays["text_weight"].item())


@dataclass(frozen=True)
class EncodedSpace(CodeSpace):
    """Encode vectors with the network of an RQ-VAE.

    encoder, decoder: weights by name, see `StateMap.arrays`.
    """

    vector: Centring
    encoder: Mapping[str, np.ndarray]
    decoder: Mapping[str, np.ndarray]

    def rows(
        self, vectors_ID: np.ndarray | None, text_IW: np.ndarray | None
    ) -> tuple[np.ndarray, slice]:
        if vectors_ID is None:
            raise ValueError(
                "new items need vectors, as the encoder of codes.kind = rq-vae reads nothing else"
            )
        return self._mapped(self.encoder, self.vector.rows(vectors_ID)), slice(None)

    def decoded(self, rows_IF: np.ndarray) -> np.ndarray:
        return self._mapped(self.decoder, rows_IF)

    @staticmethod
    def _mapped(weights: Mapping[str, np.ndarray], rows_IF: np.ndarray) -> np.ndarray:
        # imported here, so that codes of k-means do without torch
        from glta.nn.text.state_map import mapped_rows

        return mapped_rows(weights, rows_IF)

    def arrays(self) -> dict[str, np.ndarray]:
        parts = {"vector": self.vector.arrays(), "encoder": self.encoder, "decoder": self.decoder}
        return joined(parts)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Read what `arrays` returned."""
        vector, encoder, decoder = (
            part_of(dict(arrays), part) for part in ("vector", "encoder", "decoder")
        )
        return cls(Centring.from_arrays(vector), encoder, decoder)
