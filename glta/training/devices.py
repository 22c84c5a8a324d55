"""Where a training runs."""

from __future__ import annotations

import ctypes
import os
import sys


def keep_freed_memory() -> None:
    """Let the C library keep freed blocks of up to 2 GB for the next step; where it is not glibc,
    do nothing.

    It gives blocks of some MB back to the system, and the next step gets them page by page, zeroed:
    a fifth of a training step on Gowalla for 2 % more memory (docs/performance.md). All is returned
    when the process ends.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None:
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(option, 2**31 - 1)


def is_main_process() -> bool:
    """Tell whether this process writes results: the only one, or the first of `accelerate launch`."""
    return os.environ.get("RANK", "0") == "0"
