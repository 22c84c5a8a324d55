"""Start a script in several processes, wait for it, or kill it where it stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from glta.storage.tensors import load_tensors

# `--cpu` would start one process alone; what `--multi_gpu` starts works on CPUs as well
LAUNCH = (
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
    *("--num_machines", "1", "--main_process_port", "0"),
    *("--mixed_precision", "no", "--dynamo_backend", "no"),
)


def launch(module: str, folder: Path, *more: str, count: int = 2) -> subprocess.Popen:
    """Start the module with `folder` as its first argument. Its output is in `folder`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    with (folder / "output").open("w") as output:
        return subprocess.Popen(
            [*LAUNCH, "--num_processes", str(count), "-m", module, str(folder), *more],
            env=environment,
            stdout=output,
            stderr=output,
        )


def finish(process: subprocess.Popen, folder: Path) -> None:
    """Wait for success."""
    assert process.wait(timeout=200) == 0, (folder / "output").read_text()


def kill_when_stopped(process: subprocess.Popen, folder: Path) -> None:
    """Wait until the script says that it has stopped, then kill its two processes."""
    try:
        deadline = time.monotonic() + 200
        while not (folder / "stopped").exists():
            assert process.poll() is None, (folder / "output").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        process.kill()
        for path in folder.glob("pid-*"):
            os.kill(int(path.read_text()), signal.SIGKILL)
        process.wait()
    assert len(list(folder.glob("pid-*"))) == 2


def assert_equal_files(first: Path, second: Path) -> None:
    """Compare two files of tensors and their descriptions to the last bit."""
    tensors, about = load_tensors(first)
    expected, about_expected = load_tensors(second)
    assert about == about_expected
    assert tensors.keys() == expected.keys()
    for part, tensor in expected.items():
        assert torch.equal(tensors[part], tensor), part
