"""Random numbers that depend on a seed, a stream and an epoch, and on nothing else."""

from __future__ import annotations

import numpy as np


def epoch_rng(seed: int, epoch: int, stream: int = 0) -> np.random.Generator:
    """Make the generator of one epoch.

    It depends on (seed, stream, epoch) alone, so a resumed run needs no RNG state.
    """
    return np.random.default_rng([seed, stream, epoch])
