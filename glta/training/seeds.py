"""Random numbers that depend only on a seed, an epoch and a stream.

So a run that resumes needs no saved state of a generator, and all processes of a run draw the same
numbers.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


class Stream(IntEnum):
    """The purposes of random numbers. Different streams of one seed are independent."""

    SAMPLING = 0  # triples and negatives
    DROPOUT = 1  # dropped edges, hyperedges and masked nodes
    ITEM_PROMPTS = 2
    USER_PROMPTS = 3
    START_PROMPTS = 4  # prompts from which the initial weights are solved
    ADAPTERS = 5  # initial weights of LoRA
    ADAPTER_DROPOUT = 6
    NEIGHBOURS = 7
    EXHIBIT = 8  # what the report shows of a method
    CODES = 9  # starts of codebooks, and controls
    DEAD_CODES = 10
    SMALL_MODEL = 11  # initial weights of a small language model, and of code tokens
    ALIGNMENT = 12  # prompts of alignment tasks


def epoch_rng(seed: int, epoch: int, stream: int = Stream.SAMPLING) -> np.random.Generator:
    """Make numpy's generator for an epoch."""
    return np.random.default_rng([seed, stream, epoch])


def epoch_generator(seed: int, epoch: int, stream: int) -> torch.Generator:
    """Make torch's generator for an epoch, on the CPU."""
    import torch

    return torch.Generator().manual_seed(int(epoch_rng(seed, epoch, stream).integers(2**62)))


def seed_torch(seed: int, epoch: int, stream: int, rank: int = 0) -> None:
    """Seed torch's global generators, for layers that accept no generator.

    rank: of the process. Different processes get different seeds, because they work on different
    parts of a batch.
    """
    import torch

    drawn = epoch_rng(seed, epoch, stream).integers(2**62, size=rank + 1)
    torch.manual_seed(int(drawn[rank]))
