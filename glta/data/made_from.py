"""Note in the folder of a result which prepared data it was made from, and refuse any others.

Items and users have numbers, which other prepared data give to other ones. So a model, lists or
metrics say nothing about data that they were not made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from glta.data.prepared import Prepared
from glta.storage.files import read_json, write_json

NOTE = "prepared.json"
EVERYTHING = "`snakemake --cores all`"


def note_data(folder: Path, digest: str) -> None:
    """Write prepared.json into the folder of a result. digest: `Prepared.digest` of its data."""
    write_json(folder / NOTE, {"sha256": digest})


def note_data_of_parts(folder: Path, parts: Sequence[Path]) -> None:
    """Write prepared.json into the folder of a result that was joined from the folders of parts.

    Raises ValueError when these were made from different data.
    """
    digest = _noted(parts[0])
    if digest is None or any(_noted(part) != digest for part in parts):
        raise ValueError(
            f"{parts[0].parent}: has parts of different prepared data; make all of them again: "
            f"{EVERYTHING}"
        )
    note_data(folder, digest)


def refuse_other_data(folder: Path, prepared: Prepared, *, stage: str) -> None:
    """Raise ValueError when a result was made from other data, or does not say from which.

    stage: the stage of dvc.yaml that makes the result, such as ease@sample-0.
    """
    if _noted(folder) != prepared.digest:
        refuse_result(folder, stage)


def refuse_result(folder: Path, stage: str) -> NoReturn:
    """Raise ValueError that names a result of other data, and how to make it again."""
    raise ValueError(
        f"{folder}: was not made from the prepared data that are there now; make it again: "
        f"`dvc repro {stage}` or {EVERYTHING}"
    )


def _noted(folder: Path) -> str | None:
    """Return the digest in prepared.json; None without the file, as older versions left it."""
    path = folder / NOTE
    return read_json(path)["sha256"] if path.exists() else None
