"""What `accelerate launch` or torchrun tell a process about its run, by environment variables."""

from __future__ import annotations

import os


def num_processes() -> int:
    """Return the number of processes of the run, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Return whether this process writes results: it is the only one, or the first of several."""
    return os.environ.get("RANK", "0") == "0"
