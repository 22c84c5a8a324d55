"""The text term of LightGCN+ and HCCF+."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glta.methods.base import Inputs
from glta.methods.shared.text_space import text_vectors
from glta.methods.shared.trained import text_states
from glta.nn.graph.settings import TextContrastSettings

if TYPE_CHECKING:
    from glta.nn.graph.terms import OfSome


def text_contrast(
    inputs: Inputs, own: TextContrastSettings, embedding_dim: int, seed: int
) -> OfSome:
    """Build the term of LightGCN+ and HCCF+; a user's text is the mean of the centred texts of
    their training items.
    """
    import torch

    from glta.nn.graph.terms import OfSome, TextContrast

    train, (_, item_IW) = inputs.prepared.train, text_states(inputs)
    user = torch.from_numpy(text_vectors(item_IW, train)[0]) if own.text_users else None
    term = TextContrast(
        torch.from_numpy(item_IW), user, train.num_users, embedding_dim, own.text_temperature, seed
    )
    return OfSome(term, own.contrast_batch)
