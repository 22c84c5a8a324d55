"""Gradients of a batch that is computed in parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def add_gradient(
    nats: Callable[[Any], torch.Tensor], batch: Any, num_targets: int, micro_batch: int
) -> float:
    """Add the gradient of the loss nats(batch) / num_targets to the weights. Returns the loss.

    nats: returns the sum of the losses of some examples. micro_batch: number of examples whose
    activations are held at once; 0 means all. The gradient is that of the whole batch, however many
    parts it is cut into.
    """
    size = micro_batch or max(len(batch), 1)
    total = 0.0
    for start in range(0, len(batch), size):
        loss = nats(batch[start : start + size]) / num_targets
        loss.backward()
        total += loss.item()
    return total
