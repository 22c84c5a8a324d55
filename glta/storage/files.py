"""Files and folders that are whole or not there, JSON with one form, and SHA-256 digests.

A result is first written beside its place, and renamed when it is complete.
"""

from __future__ import annotations

import errno
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
    """Yield an empty temporary folder that replaces `folder` at the end.

    After an error `folder` is as it was before. The old folder is moved aside, and deleted when the
    new one is in its place. Where a process is killed between the two, the old folder is beside its
    place, as .NAME.old, and the next call moves it back. What else a killed process left is
    deleted. One process at a time may write the same folder. Of a symbolic link, the folder that it
    leads to is replaced, and the link stays.
    """
    folder = Path(folder)
    if folder.is_symlink():
        folder = folder.resolve()
    partial = folder.with_name(f".{folder.name}.partial")
    aside = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(partial, ignore_errors=True)
    _settle(folder, aside)
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.is_dir():
            folder.replace(aside)
        partial.replace(folder)
    finally:
        _settle(folder, aside)
        shutil.rmtree(partial, ignore_errors=True)


def _settle(folder: Path, aside: Path) -> None:
    """Delete the old folder that was moved aside, or move it back where no new one came."""
    if aside.is_dir() and not folder.exists():
        aside.replace(folder)
    shutil.rmtree(aside, ignore_errors=True)


def write_whole(path: Path | str, content: str | bytes) -> None:
    """Write a file, whole or not at all, and make its folder.

    What a killed process left is overwritten. One process at a time may write the same file. Raises
    OSError when the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def full_disk(error: Exception) -> str:
    """Say in one sentence that the disk is full, or a limit reached; "" for any other error."""
    if not isinstance(error, OSError) or error.errno not in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
    ):
        return ""
    # of a copy, the second is the new file
    where = error.filename2 or error.filename or Path.cwd()
    return (
        f"the disk is full, or a limit is reached ({where}); make room and run again, nothing was "
        "lost"
    )


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes.

    Raises ValueError for NaN and infinities.
    """
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_whole(path, text + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON. Raises ValueError that names the file when it is not JSON in UTF-8."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: not readable as JSON ({error}); delete it and run again"
        ) from None


def sha256_of(path: Path | str) -> str:
    """Return the SHA-256 digest of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(paths: Iterable[Path]) -> str:
    """Return one SHA-256 digest of the names and contents of several files, sorted by path."""
    lines = [f"{path.name} {sha256_of(path)}\n" for path in sorted(paths)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
