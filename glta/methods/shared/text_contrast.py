"""The text term of LightGCN+ and HCCF+."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from glta.methods.base import Job
from glta.methods.shared.text_space import text_states, text_vectors
from glta.nn.graph.settings import TextContrastSettings

if TYPE_CHECKING:
    import torch

    from glta.nn.graph.terms import OfSome


def text_contrast(job: Job, settings: TextContrastSettings, embedding_dim: int) -> OfSome:
    """Build the term. A user's text is the mean of the centred texts of their training items."""
    import torch

    from glta.nn.graph.terms import OfSome, TextContrast

    train = job.prepared.train
    _, item_IW = text_states(job)
    user = text_vectors(item_IW, train).user if settings.text_users else None
    term = TextContrast(
        torch.from_numpy(item_IW),
        None if user is None else torch.from_numpy(user),
        train.num_users,
        embedding_dim,
        settings.text_temperature,
        job.seed,
    )
    return OfSome(term, settings.contrast_batch)


def profile_states(job: Job) -> torch.Tensor:
    """Stack the text states of users, then of items: (U + I, W)."""
    import torch

    return torch.from_numpy(np.concatenate(text_states(job)))
