"""Make the text terms of LightGCN+, HCCF+ and RLMRec."""

# U users, I items, W language width
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from glta.methods.base import Job
from glta.methods.shared.text_space import text_states, text_vectors
from glta.nn.graph.settings import TextContrastSettings

if TYPE_CHECKING:
    import torch

    from glta.nn.graph.terms import TextContrast


def text_contrast(job: Job, settings: TextContrastSettings, embedding_dim: int) -> TextContrast:
    """Build the contrast between node embeddings and text states (LightGCN+, HCCF+).

    A user's text state is the mean of the centred states of their training items.
    """
    import torch

    from glta.nn.graph.terms import TextContrast

    train = job.prepared.train
    _, item_IW = text_states(job)
    user_UW = text_vectors(item_IW, train).user if settings.text_users else None
    return TextContrast(
        torch.from_numpy(item_IW),
        None if user_UW is None else torch.from_numpy(user_UW),
        num_users=train.num_users,
        embedding_dim=embedding_dim,
        temperature=settings.text_temperature,
        seed=job.seed,
    )


def profile_states(job: Job) -> torch.Tensor:
    """Stack the text states of users and of items, users first: (U + I, W) float32."""
    import torch

    return torch.from_numpy(np.concatenate(text_states(job)))
