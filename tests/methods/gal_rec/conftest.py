"""Tiny language models and the folder of graph embeddings, written once."""

from pathlib import Path

import pytest

from tests.methods.gal_rec.made import write_graph
from tests.tiny import WRITERS


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[str, Path]:
    """A folder of each kind of language model."""
    return {kind: write(tmp_path_factory.mktemp(kind)) for kind, write in WRITERS.items()}


@pytest.fixture(scope="session")
def graph(tmp_path_factory) -> Path:
    """The folder of the step pretrain-graph."""
    return write_graph(tmp_path_factory.mktemp("graph") / "pretrain-graph")
