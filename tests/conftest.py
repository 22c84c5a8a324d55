"""Small prepared data with a known answer, shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from glta.data.prepared import Prepared
from glta.testing.blocks import World, block_prepared
from tests.pipeline.forkserver import Warm

# a deadline measures the machine, not the code
hypothesis.settings.register_profile("glta", deadline=None)
hypothesis.settings.load_profile("glta")


LONG = (
    "test_agreement.py",
    "test_toy_method.py",
    "test_benchmarks.py",
    "test_engines.py",
    "test_tuning.py",
    "test_lineage.py",
    "test_stage_processes.py",
    "test_cluster.py",
    "test_kill.py",
    "test_definition.py",
    "test_records.py",
    "test_stages.py",
    "test_alignment_processes.py",
    "test_align.py",
)
"""Files that begin first, so that no worker is left alone with one of them at the end. The first
one builds the toy repository (tests/pipeline/conftest.py), and the second one does not wait for it.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session")
def commands(tmp_path_factory) -> Iterator[str]:
    """Make a folder with dvc, snakemake, glta and python that start at once."""
    with Warm(tmp_path_factory.mktemp("warm")) as folder:
        yield str(folder)


@pytest.fixture(scope="session")
def prepared() -> Prepared:
    return block_prepared()


@pytest.fixture
def world(prepared: Prepared, tmp_path: Path) -> World:
    """Write data/blocks/0 up to where the methods start."""
    return World.write(tmp_path, prepared)
