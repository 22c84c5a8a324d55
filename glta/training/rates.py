"""How learning rates move during a training."""

from __future__ import annotations

import math

import torch

WARM_UP = 0.05
"""The share of the steps in which the rates rise."""


def rate_factor(step: int, steps: int) -> float:
    """Return the share of the learning rates at a step: a rise, then half a cosine to 0."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


def move_rates(optimizer: torch.optim.Optimizer, step: int, steps: int) -> None:
    """Set the learning rates of a step: each group's "rate", times `rate_factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * rate_factor(step, steps)
