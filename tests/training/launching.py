"""Run a script in several processes that share a training, wait for them, or kill them.

The processes are forks of one that has imported the large libraries, so that each run begins at
once. tests/pipeline/test_stage_processes.py starts processes by `accelerate launch`, as a stage
does.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch.distributed import TCPStore

from glta.storage.tensors import load_tensors

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


@dataclass(frozen=True)
class Run:
    """Processes that share a training. store: through which they find each other."""

    processes: list[BaseProcess]
    store: TCPStore

    def status(self) -> list[int]:
        """The exit statuses of those that have ended."""
        return [p.exitcode for p in self.processes if p.exitcode is not None]


def launch(module: str, folder: Path, *more: str, count: int = 2) -> Run:
    """Start the module with `folder` as its first argument. Its output is in `folder`."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {
        "ACCELERATE_USE_CPU": "true",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(count),
    }
    processes = []
    for rank in range(count):
        own = environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        arguments = (module, [str(folder), *more], own, folder / "output")
        processes.append(FORKS.Process(target=run_module, args=arguments, daemon=True))
        processes[-1].start()
    return Run(processes, store)


def run_module(module: str, arguments: list[str], environment: dict[str, str], out: Path) -> None:
    """Do in a process what `python -m MODULE ARGUMENTS...` does."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    with out.open("a") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def finish(run: Run, folder: Path) -> None:
    """Wait for success."""
    deadline = time.monotonic() + 200
    for process in run.processes:
        process.join(max(0.0, deadline - time.monotonic()))
        assert process.exitcode == 0, (folder / "output").read_text()


def kill_when_stopped(run: Run, folder: Path) -> None:
    """Wait until the script says that it has stopped, then kill its processes."""
    try:
        deadline = time.monotonic() + 200
        while not (folder / "stopped").exists():
            assert run.status() == [], (folder / "output").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        for process in run.processes:
            process.kill()
        for process in run.processes:
            process.join()
    assert run.status() == [-signal.SIGKILL] * len(run.processes)


def assert_equal_files(first: Path, second: Path) -> None:
    """Compare two files of tensors and their descriptions to the last bit."""
    tensors, about = load_tensors(first)
    expected, about_expected = load_tensors(second)
    assert about == about_expected
    assert tensors.keys() == expected.keys()
    for part, tensor in expected.items():
        assert torch.equal(tensors[part], tensor), part
