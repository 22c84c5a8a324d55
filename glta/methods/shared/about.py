"""Write and check model.json, which every recommender has beside its arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glta.storage.files import read_json, write_json
from glta.storage.schema import check_schema

SCHEMA = 1
"""Version of the format of model folders. A folder of another version is refused."""


def write_about(folder: Path, method: str, *, trainable_parameters: int, **more: Any) -> None:
    """Write model.json.

    method: its name. trainable_parameters: how many numbers were fitted. more: further keys.
    """
    about = {"method": method, "trainable_parameters": trainable_parameters, "schema": SCHEMA}
    write_json(folder / "model.json", about | more)


def read_about(folder: Path, method: str) -> dict[str, Any]:
    """Read model.json.

    Raises ValueError when another method, or another version of glta, has written it.
    """
    path = folder / "model.json"
    about = read_json(path)
    if about.get("method") != method:
        raise ValueError(
            f"{path}: is a model of {about.get('method')}, not of {method}; give the folder of a "
            f"{method} model"
        )
    check_schema(about, SCHEMA, path)
    return about
