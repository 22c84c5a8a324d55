"""Set what the last digits of a result depend on besides its inputs: threads and instructions."""

from __future__ import annotations

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
ENVIRONMENT: dict[str, str] = {}


def thread_limits(threads: int) -> dict[str, str]:
    """Return the environment variables for a number of threads.

    The last digits of a sum depend on the number of threads. So dvc.yaml alone sets it, and neither
    --cores nor environment variables change it.
    """
    return dict.fromkeys(THREADS, str(threads))
