"""Schema numbers: which form an artefact has. A change of the form gets the next number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def check_schema(about: Mapping[str, Any], expected: int, path: Path) -> None:
    """Raise ValueError when what a file says of itself has another schema than expected."""
    if about.get("schema") != expected:
        raise ValueError(
            f"{path}: has schema {about.get('schema')}, this version of glta reads {expected}; "
            "make it again: run the stage that writes it"
        )
