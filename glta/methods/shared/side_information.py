"""Score by a linear map between items that was fitted to interactions and texts alike.

Items without training users are scored by their text.
"""

# U users, I items, J new items, N chosen items, W language width, F text features, B users of a
# block
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from glta.methods.shared.item_map import ItemMap
from glta.methods.shared.text_features import mapped_states
from glta.methods.shared.text_space import unit_rows


def columns_from_text(
    weights_II: np.ndarray,
    diagonal_I: np.ndarray,
    text_IF: np.ndarray,
    new_JF: np.ndarray,
    text_weight: float,
) -> np.ndarray:
    """Estimate the columns of items without users from their text: (I, J) float32.

    The column of a new item with text row t is text_weight P T^T t. This is the ridge regression of
    t on the text rows T of the items with users, because an item without users adds nothing but
    text_weight T^T t to the Gram matrix. P is not at hand, but P v = d v - B (d v) for any vector
    v, where d is the diagonal of P.
    weights_II, diagonal_I: B and d, see `SideInformationMap`. new_JF: text rows of the new items.
    """
    scaled = diagonal_I[:, None] * (np.float32(text_weight) * text_IF @ new_JF.T)
    return scaled - weights_II @ scaled


def gain_of(known_BN: np.ndarray, estimated_BN: np.ndarray) -> float:
    """Return the ratio of two spreads: of learnt scores, and of their leave-one-out estimates.

    A spread is a user's standard deviation over items, averaged over the users. Returns 1 when the
    estimates are constant.
    """
    spread = float(estimated_BN.std(1).mean())
    return float(known_BN.std(1).mean()) / spread if spread > 0 else 1.0


def evenly(among: np.ndarray, limit: int = 1000) -> np.ndarray:
    """Take at most `limit` entries, evenly spaced."""
    return among[np.arange(limit) * among.size // limit] if among.size > limit else among


@dataclass(frozen=True)
class SideInformationMap(ItemMap):
    """Score by X B, where items without training users have columns of B from their text.

    The columns of such items are estimated by `columns_from_text`, and multiplied by a gain, the
    same for all of them. Estimates from text vary less than scores learnt from users, so that
    without a gain no new item would ever reach a list.

    weights: B (I, I) float32, dense. diagonal: (I,) float32, the diagonal of P, from which B was
    computed (`glta.methods.shared.closed_form`); 0 for items without training users. text: (I, F)
    float32, text features of length 1. text_weight: of these rows. gain: see above. mean, text_map:
    see `TextFeatures`.
    """

    weights: np.ndarray
    diagonal: np.ndarray
    text: np.ndarray
    text_weight: float
    gain: float
    mean: np.ndarray | None = None
    text_map: np.ndarray | None = None

    @property
    def by_text(self) -> bool:
        return True

    def as_new(self, items_N: np.ndarray) -> Self:
        weights = self.weights.copy()
        weights[:, items_N] = np.float32(self.gain) * self.columns_left_out(items_N)
        return replace(self, weights=weights)

    def columns_of(self, new_JF: np.ndarray) -> np.ndarray:
        """Estimate the columns of new items from their text, without the gain: (I, J) float32.

        new_JF: text features of length 1.
        """
        return columns_from_text(self.weights, self.diagonal, self.text, new_JF, self.text_weight)

    def columns_left_out(self, items_N: np.ndarray) -> np.ndarray:
        """Estimate the columns of known items from their text alone: (I, N) float32, no gain.

        These are leave-one-out estimates: each column is what `columns_of` would give if its own
        item had no users. Without item j among the regressors, P v becomes P v - P_j (P v)_j /
        P_jj, where P_j / P_jj = e_j - B_j with the unit vector e_j.
        """
        estimated = self.columns_of(self.text[items_N])
        place = np.arange(len(items_N))
        estimated += self.weights[:, items_N] * estimated[items_N, place]
        estimated[items_N, place] = 0
        return estimated

    def placed(self, text_JW: np.ndarray) -> np.ndarray:
        """Bring text states of new items to the form of `text`: (J, F) float32.

        Raises ValueError when `text` are words alone.
        """
        return unit_rows(mapped_states(text_JW, self.mean, self.text_map, type(self).__name__))

    def extended(self, text_JW: np.ndarray) -> Self:
        text = self.placed(text_JW)
        wider = self.widened(np.float32(self.gain) * self.columns_of(text))
        return replace(
            wider,
            diagonal=np.pad(self.diagonal, (0, len(text))),
            text=np.concatenate([self.text, text]),
        )

    @property
    def about(self) -> dict[str, Any]:
        return super().about | {"text_weight": self.text_weight, "gain": self.gain}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        arrays = super().arrays | {"diagonal": self.diagonal, "text": self.text}
        if self.mean is None or self.text_map is None:
            return arrays
        return arrays | {"mean": self.mean, "text_map": self.text_map}

    @classmethod
    def _fields(cls, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> dict[str, Any]:
        own: dict[str, Any] = {name: arrays[name] for name in ("diagonal", "text")}
        own |= {name: about[name] for name in ("text_weight", "gain")}
        own |= {name: arrays.get(name) for name in ("mean", "text_map")}
        return super()._fields(arrays, about) | own
