from pathlib import Path

import pytest

from tests.methods.glta.small import Small, write_pretrained
from tests.tiny import WRITERS


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> dict[str, Path]:
    """Folders of the tiny models, by kind."""
    return {kind: write(tmp_path_factory.mktemp(kind)) for kind, write in WRITERS.items()}


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory) -> Path:
    return write_pretrained(tmp_path_factory.mktemp("pretrain"))


@pytest.fixture
def small(tiny, pretrained, prepared):
    """Make a small alignment: a kind of language model, other data, and parameters."""

    def make(kind: str = "encoder", data=None, **params) -> Small:
        return Small.make(tiny[kind], pretrained, data or prepared, **params)

    return make
