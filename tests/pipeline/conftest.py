from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from filelock import FileLock

from tests.pipeline.repository import LOCAL, Toy


@pytest.fixture(scope="session")
def built(tmp_path_factory, commands) -> Toy:
    """Run the toy once from nothing, under Snakemake. The workers of one test run share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built"
    with FileLock(f"{folder}.lock"):
        if not (folder / "data/report").exists():
            Toy.create(folder, commands).snakemake()
    return Toy(folder)


@pytest.fixture
def cold(built) -> Iterator[Toy]:
    """Copy the finished toy, into memory where possible.

    Its databases wait for the disk a thousand times.
    """
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    with TemporaryDirectory(
        prefix="toy", dir=memory if roomy else None, ignore_cleanup_errors=True
    ) as above:
        folder = Path(above) / "toy"
        shutil.copytree(built.folder, folder, symlinks=True, ignore=LOCAL)
        (folder / "ran.log").unlink(missing_ok=True)
        yield Toy(folder)


@pytest.fixture
def toy(cold, commands) -> Toy:
    """Copy the finished toy, with commands that start at once.

    These commands pass no signals on; `Toy.start` uses the real ones.
    """
    return cold.quick(commands)
