"""Run a module in a process of its own that has imported the large libraries already.

It is a fork of a server which is started once for all tests of a process, and ends with it.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

# no code of this project, and not Polars: it starts threads when it is imported, and a fork has
# none of them
LIBRARIES = (
    "accelerate",
    "peft",
    "pydantic",
    "scipy.sparse",
    "sklearn.feature_extraction.text",
    "torch.distributed",
    "transformers",
    "transformers.models.bert.modeling_bert",
    "transformers.models.llama.modeling_llama",
)
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(list(LIBRARIES))


def start(
    module: str,
    arguments: Sequence[object],
    output: Path,
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Do in a fork what `python -m MODULE ARGUMENTS...` does, with one thread.

    output: the file to which all that it prints is added. environment: variables besides the
    server's.
    """
    words = [str(argument) for argument in arguments]
    process = FORKS.Process(
        target=_run, args=(module, words, output, dict(environment or {})), daemon=True
    )
    process.start()
    return process


def _run(module: str, arguments: list[str], output: Path, environment: dict[str, str]) -> None:
    import torch

    os.environ.update(environment)
    torch.set_num_threads(1)
    with output.open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
