"""Whole files or none: everything that ends up as a result is written beside its place and then
renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_folder(folder: Path | str) -> Iterator[Path]:
    """Give an empty temporary folder that takes the place of `folder` at the end; after an error
    nothing changes.
    """
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_whole(path: Path | str, content: str | bytes) -> None:
    """Write a file atomically, making its folder.

    One process at a time: what a killed one left is overwritten.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
            f.flush()
            os.fsync(f.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes.

    Raises ValueError for NaN and infinities.
    """
    write_whole(
        path,
        json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n",
    )


def read_json(path: Path | str) -> Any:
    """Read JSON. Raises ValueError that names the file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not readable as JSON ({error}); delete it and run again"
        ) from None


def sha256_of(path: Path | str) -> str:
    """Hash a file's content without reading it at once."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sha256_of_all(paths: Iterable[Path]) -> str:
    """Hash the names and contents of several files, in the order of their names."""
    lines = [f"{path.name} {sha256_of(path)}\n" for path in sorted(paths)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
