"""Small prepared data with a known answer, shared by all tests."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

from glta.data.prepared import Prepared
from glta.testing.blocks import World, block_prepared

# a deadline measures the machine, not the code
hypothesis.settings.register_profile("glta", deadline=None)
hypothesis.settings.load_profile("glta")


@pytest.fixture(scope="session")
def prepared() -> Prepared:
    return block_prepared()


@pytest.fixture
def world(prepared: Prepared, tmp_path: Path) -> World:
    """Write data/blocks/0 up to where the methods start."""
    return World.write(tmp_path, prepared)
