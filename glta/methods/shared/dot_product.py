"""Score by the dot product of a user's and an item's embedding."""

# U users, I items, D embedding width, B users of a block
from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked, known_users, recent_matrix
from glta.data.sequences import Sequences
from glta.methods.shared.component import Component


@dataclass(frozen=True)
class DotProduct(Component):
    """Score by dot products of embeddings.

    user: (U, D) float32. item: (I, D) float32.
    """

    user: np.ndarray
    item: np.ndarray

    def score(self, users: np.ndarray) -> np.ndarray:
        from glta.evaluation.ranking import dot_products

        return dot_products(self.user[known_users(users, len(self.user))], self.item)

    @property
    def trainable_parameters(self) -> int:
        return self.user.size + self.item.size

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays of the dataclass by field name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    @classmethod
    def rebuilt(cls, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Self:
        return cls(**arrays)


class PlacedUsers(DotProduct):
    """Score by dot products, where the vector of a user is a function of their items."""

    def placed(self, history_BI: csr_array) -> np.ndarray:
        """Compute the vectors of users from their items: (B, D). history_BI: 0/1."""
        raise NotImplementedError

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        return self.placed(checked(history_BI, len(self.item))) @ self.item.T

    def with_histories(self, histories: Sequences) -> Self:
        history = checked(recent_matrix(histories, decay=1), len(self.item))
        return replace(self, user=self.placed(history))
