"""SHA-256 digests of files and folders that change rarely, remembered between runs.

A digest is remembered with what the file system says of the file: device, inode, size, and the
times of the last change of its content (mtime) and of its inode (ctime). `cp -p`, `rsync -a` and
`touch` can set an older mtime. No program can set ctime: it moves forward at every write, rename
and change of mtime. So an equal record means equal content.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from glta.storage.files import sha256_of

REMEMBERED = Path(".cache/digests")
# A file may change twice within one tick of the file system's clock, which is 2 s at most (FAT).
# What changed that recently is not remembered.
SETTLED_SECONDS = 3.0


def digest_of(path: Path | str) -> str:
    """Return the SHA-256 digest of the content of a file; read it only if it may have changed.

    A link is followed. Raises OSError when the file cannot be read.
    """
    path = Path(path)
    note = REMEMBERED / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()}.json"
    state = _state(path)
    if (known := _remembered(note)) and known["state"] == state:
        return known["sha256"]
    digest = sha256_of(path)
    changed = max(state["mtime_ns"], state["ctime_ns"]) / 1e9
    if _state(path) == state and changed + SETTLED_SECONDS < time.time():
        _remember(note, {"state": state, "sha256": digest})
    return digest


def digest_of_folder(folder: Path | str, files: Iterable[Path] | None = None) -> str:
    """Return one SHA-256 digest of the files of a folder: of their relative paths and contents.

    files: those to take. None takes all, those of inner folders too, but none that is hidden (its
    name, or that of an inner folder, begins with a dot).
    """
    folder = Path(folder)
    chosen = visible_files(folder) if files is None else files
    return digest_of_parts(
        {path.relative_to(folder).as_posix(): digest_of(path) for path in chosen}
    )


def digest_of_parts(parts: Mapping[str, str]) -> str:
    """Return the digest of a folder by those of its files. parts: digests by relative path."""
    lines = sorted(f"{name} {digest}\n" for name, digest in parts.items())
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def digest_of_arrays(
    arrays: Iterable[tuple[str, Any, tuple[int, ...], memoryview]], meta: Mapping | None
) -> str:
    """Return the digest of arrays and of further values, which are JSON.

    arrays: name, type, shape and content of each, in the order of the names.
    """
    found = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name, dtype, shape, content in arrays:
        found.update(f"{name} {dtype} {shape}".encode())
        found.update(content)
    return found.hexdigest()


def visible_files(folder: Path) -> list[Path]:
    """Return the files of a folder and of its inner folders, in the order of their paths."""
    found = []
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") for part in inner):
            found.append(path)
    return found


def _state(path: Path) -> dict[str, int]:
    """Return what the file system says of a file; it differs after every change of the content."""
    stat = path.stat()
    return {
        "device": stat.st_dev,
        "inode": stat.st_ino,
        "bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
    }


def _remembered(note: Path) -> dict | None:
    """Return a note; None when there is none, or when it cannot be read."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return known if {"state", "sha256"} <= known.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _remember(note: Path, known: dict) -> None:
    """Write a note. Several processes may do so at a time; where none can be written, none is."""
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=note.parent, prefix=".")
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(known, file)
        Path(partial).replace(note)
    except OSError:
        return
