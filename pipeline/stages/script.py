"""Provide what all stage scripts need: arguments, parameters and clear error messages."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

from glta.params.check import load_params
from glta.progress import record_error
from glta.storage.cell import DATA
from glta.storage.files import full_disk
from glta.training.ranks import is_main_process, num_processes
from pipeline.project import enter_project

AFTER_MAIN = 5
"""Seconds that another process than the main one waits before it names its error."""


def checkpoint_folder() -> Path | None:
    """Return the folder for the training state of this stage; None outside of the runner.

    The runner makes one for each combination of inputs and parameters.
    """
    return Path(path) if (path := os.environ.get("GLTA_CHECKPOINT")) else None


class Reads:
    """Note which files below this folder the program reads, until it ends.

    They are the modules that it has loaded and the files that Python has opened. Libraries in other
    languages may open more.
    """

    def __init__(self) -> None:
        self._opened: set[str] = set()
        # called for each event of the interpreter, such as opening a file (PEP 578)
        sys.addaudithook(self._note)

    def _note(self, event: str, values: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(values[0], str) and values[1] in ("r", "rb", "rt"):
            self._opened.add(values[0])

    def files(self) -> list[str]:
        """Return the files as paths from this folder, sorted; sources for compiled modules."""
        loaded = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
        found = set()
        for name in filter(None, self._opened | loaded):
            path = Path(os.path.normpath(Path.cwd() / name))
            if path.suffix == ".pyc" and path.parent.name == "__pycache__":
                path = Path(source_from_cache(str(path)))
            if path.is_relative_to(Path.cwd()) and path.is_file():
                found.add(path.relative_to(Path.cwd()).as_posix())
        return sorted(found)

    def write(self) -> None:
        """Write them to the file that the runner names, if it has named one."""
        if place := os.environ.get("GLTA_READS"):
            Path(place).write_text(json.dumps(self.files()), encoding="utf-8")


def run(main: Callable[..., None], *, copies_files: bool = False, shared: bool = False) -> None:
    """Call main(params, ...) in the project's folder, with the command-line options that it takes.

    main may have the parameters dataset, seed, method, step, part, of; those with a default may be
    left out. params: with the dataset's overrides merged in. copies_files: main copies the user's
    files; the other stages read the copies, and so refuse to start when one of the files is another
    by now. shared: several processes may call main together, as `accelerate launch` starts them.

    Wrong input (ValueError, OSError) ends in one line and exit status 1. Any other error is a
    mistake in this code, and shows its traceback.
    """
    parser = argparse.ArgumentParser(description=inspect.getmodule(main).__doc__)
    for name, parameter in inspect.signature(main).parameters.items():
        if name != "params":
            number = name in ("seed", "part", "of")
            optional = parameter.default is not inspect.Parameter.empty
            parser.add_argument(
                f"--{name}",
                required=not optional,
                type=int if number else str,
                default=parameter.default if optional else None,
            )
    given = vars(parser.parse_args())
    try:
        if num_processes() > 1 and not shared:
            raise ValueError("this stage runs in one process; start it without accelerate launch")
        enter_project()
        params = load_params()
        if "dataset" in given:
            if not copies_files:
                # here, as no result depends on the code of this check
                from glta.params.own_files import refuse_outdated

                refuse_outdated(params, given["dataset"], DATA)
            params = params.for_dataset(given["dataset"])
        # what was read until here decides no result
        reads = Reads()
        main(params, **given)
        if is_main_process():
            reads.write()
    except (ValueError, OSError) as error:
        if not is_main_process():
            # the main process mostly finds the same, and says so; this one is ended then
            time.sleep(AFTER_MAIN)
        record_error(explain(error))
        sys.exit(f"error: {explain(error)}")
    except Exception as error:
        record_error(f"{type(error).__name__}: {error}")
        raise


def explain(error: Exception) -> str:
    """Write an error as one line, with the fix where it is known."""
    if full := full_disk(error):
        return full
    if isinstance(error, FileNotFoundError):
        # polars names the file in its message alone
        where = error.filename or str(error).rpartition(": ")[2]
        return (
            f"{where}: no such file; run the stage that makes it (`dvc repro` runs all stages that "
            "are needed)"
        )
    return str(error) or type(error).__name__
