"""Provide what all stage scripts need: arguments, parameters and clear error messages."""

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
from pipeline.project import enter_project


def checkpoint_folder() -> Path | None:
    """Return the folder for the training state of this stage; None outside of the runner.

    The runner makes one for each combination of inputs and parameters.
    """
    return Path(path) if (path := os.environ.get("GLTA_CHECKPOINT")) else None


def run(main: Callable[..., None]) -> None:
    """Call main(params, ...) in the project's folder, with the command-line options that it takes.

    main may have the parameters dataset, seed, method, step. params: with the dataset's overrides
    merged in. Wrong input (ValueError, OSError) ends in one line and exit status 1. Any other error
    is a mistake in this code, and shows its traceback.
    """
    names = [name for name in inspect.signature(main).parameters if name != "params"]
    parser = argparse.ArgumentParser(description=inspect.getmodule(main).__doc__)
    for name in names:
        parser.add_argument(f"--{name}", required=True, type=int if name == "seed" else str)
    given = vars(parser.parse_args())
    try:
        enter_project()
        params = load_params()
        main(params.for_dataset(given["dataset"]) if "dataset" in given else params, **given)
    except (ValueError, OSError) as error:
        record_error(explain(error))
        sys.exit(f"error: {explain(error)}")
    except Exception as error:
        record_error(f"{type(error).__name__}: {error}")
        raise


def explain(error: Exception) -> str:
    """Write an error as one line, with the fix where it is known."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        where = error.filename or Path.cwd()
        return (
            f"the disk is full, or a limit is reached ({where}); make room and run again, nothing "
            "was lost"
        )
    if isinstance(error, FileNotFoundError):
        # polars names the file in its message alone
        where = error.filename or str(error).rpartition(": ")[2]
        return (
            f"{where}: no such file; run the stage that makes it (`dvc repro` runs all stages that "
            "are needed)"
        )
    return str(error) or type(error).__name__
