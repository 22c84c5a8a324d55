"""Run a script in several processes that share a training, wait for them, or kill them.

tests/pipeline/test_stage_processes.py starts processes by `accelerate launch`, as a stage does.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch.distributed import TCPStore

from glta.storage.tensors import load_tensors
from tests.forks import start


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
    ranks = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count))
    processes = [
        start(module, [folder, *more], folder / "output", environment | rank) for rank in ranks
    ]
    return Run(processes, store)


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
