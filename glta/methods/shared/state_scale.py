"""Centre and scale of a language model's states."""

from __future__ import annotations

import torch


def centre_and_scale(states_NH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and the standard deviation of each number of some states, each (H,).

    The deviation is at least 1e-6. It is 1 for a single state, which has none.
    """
    centre = states_NH.mean(0)
    if len(states_NH) < 2:
        return centre, torch.ones_like(centre)
    return centre, states_NH.std(0).clamp_min(1e-6)
