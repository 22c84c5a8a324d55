"""What every stage script shares: its arguments, its parameters, its folders, and one clear line
when it fails.
"""

from __future__ import annotations

import argparse
import errno
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path

from glta.params.check import load_params
from glta.progress import record_error


def checkpoint_folder() -> Path | None:
    """Return where this stage may keep its training state; the runner makes one per combination of
    inputs and parameters.
    """
    return Path(path) if (path := os.environ.get("GLTA_CHECKPOINT")) else None


def run(main: Callable[..., None]) -> None:
    """Call main(params, ...) with the command line's --dataset, --seed, --method, --edges,
    whichever it names.

    params: with the dataset's overrides in place. Wrong input (ValueError, OSError) ends in one
    line and status 1; anything else is our own bug and shows its traceback.
    """
    names = [name for name in inspect.signature(main).parameters if name != "params"]
    parser = argparse.ArgumentParser(description=inspect.getmodule(main).__doc__)
    for name in names:
        parser.add_argument(f"--{name}", required=True, type=int if name == "seed" else str)
    given = vars(parser.parse_args())
    try:
        params = load_params()
        main(params.for_dataset(given["dataset"]) if "dataset" in given else params, **given)
    except (ValueError, OSError) as error:
        record_error(explain(error))
        sys.exit(f"error: {explain(error)}")
    except Exception as error:
        record_error(f"{type(error).__name__}: {error}")
        raise


def explain(error: Exception) -> str:
    """Put an error into one line that says what to do."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        where = error.filename or Path.cwd()
        return (
            f"the disk is full, or a limit reached ({where}); make room and run again, nothing "
            "was lost"
        )
    if isinstance(error, FileNotFoundError):
        where = (
            error.filename or str(error).rpartition(": ")[2]
        )  # polars names the file in its message alone
        return (
            f"{where}: no such file; run the stage that makes it (`dvc repro` runs all that is "
            "needed)"
        )
    return str(error) or type(error).__name__
