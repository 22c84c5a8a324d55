from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.pipeline.forkserver import Warm
from tests.pipeline.repository import Toy


@pytest.fixture(scope="session")
def built(tmp_path_factory, commands) -> Toy:
    """Run the toy once from nothing, under Snakemake."""
    toy = Toy.create(tmp_path_factory.mktemp("engines") / "built")
    toy.env["PATH"] = f"{commands}{os.pathsep}{toy.path}"
    toy.snakemake()
    toy.env["PATH"] = toy.path
    return toy


@pytest.fixture
def toy(built, tmp_path) -> Toy:
    """Give a copy of the finished toy."""
    folder = tmp_path / "toy"
    shutil.copytree(built.folder, folder, symlinks=True)
    (folder / "ran.log").unlink(missing_ok=True)
    return Toy(folder)


@pytest.fixture(scope="session")
def commands(tmp_path_factory) -> Iterator[str]:
    """Give a folder with dvc, snakemake and python that start at once."""
    with Warm(tmp_path_factory.mktemp("warm")) as folder:
        yield str(folder)


@pytest.fixture
def warm(toy, commands) -> Toy:
    """Give a copy of the finished toy whose commands start at once. They pass no signals on."""
    toy.env["PATH"] = f"{commands}{os.pathsep}{toy.path}"
    return toy
