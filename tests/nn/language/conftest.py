from pathlib import Path

import pytest

from tests.tiny import WRITERS


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> dict[str, Path]:
    """Folders of the tiny models, by kind."""
    return {kind: write(tmp_path_factory.mktemp(kind)) for kind, write in WRITERS.items()}
