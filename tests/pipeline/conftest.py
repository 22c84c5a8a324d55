from __future__ import annotations

import shutil

import pytest

from tests.pipeline.repository import Toy


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Toy:
    """Run the toy once from nothing, under Snakemake."""
    toy = Toy.create(tmp_path_factory.mktemp("engines") / "built")
    toy.snakemake()
    return toy


@pytest.fixture
def toy(built, tmp_path) -> Toy:
    """Give a copy of the finished toy."""
    folder = tmp_path / "toy"
    shutil.copytree(built.folder, folder, symlinks=True)
    (folder / "ran.log").unlink(missing_ok=True)
    return Toy(folder)
