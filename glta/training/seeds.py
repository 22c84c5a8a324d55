"""Random numbers that depend on a seed, a stream and an epoch, and on nothing else.

So a run that resumes needs no state of a generator, and every process of a run draws the same.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


class Stream(IntEnum):
    """What numbers are drawn for. Two streams of one seed are independent."""

    SAMPLING = 0  # triples and negatives
    DROPOUT = 1  # dropped edges, hyperedges and masked nodes
    ITEM_PROMPTS = 2
    USER_PROMPTS = 3
    START_PROMPTS = 4  # what a matched start is solved on
    ADAPTERS = 5  # start of LoRA's weights
    ADAPTER_DROPOUT = 6


def epoch_rng(seed: int, epoch: int, stream: int = Stream.SAMPLING) -> np.random.Generator:
    """Make numpy's generator of one epoch."""
    return np.random.default_rng([seed, stream, epoch])


def epoch_generator(seed: int, epoch: int, stream: int) -> torch.Generator:
    """Make torch's generator of one epoch, on the CPU."""
    import torch

    return torch.Generator().manual_seed(int(epoch_rng(seed, epoch, stream).integers(2**62)))


def seed_torch(seed: int, epoch: int, stream: int, rank: int = 0) -> None:
    """Set torch's global generators, for layers that accept no generator of their own.

    rank: of the process. Processes that work on different parts of a batch draw apart.
    """
    import torch

    drawn = epoch_rng(seed, epoch, stream).integers(2**62, size=rank + 1)
    torch.manual_seed(int(drawn[rank]))
