"""Files of the user's own: opened in whatever they are packed, or refused in words.

gzip, bz2 and xz, a zip or a tar with one file, and one of these in another, are unpacked while they
are read. What is no table is refused with what to do about it: workbooks, databases, pickles, web
pages.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from glta.io.streams import DAMAGE, UTF_16, damaged

REPLACE = "put a whole copy in its place, then run `glta params sync`"
"""What to do about a damaged file of the user's own."""
PARQUET = b"PAR1"  # how a Parquet file begins
HEAD_BYTES = 1 << 12
TAR_PLACE = 257  # of the word ustar in a tar
UNPACKERS: dict[bytes, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    b"\x1f\x8b": (lambda raw: gzip.GzipFile(fileobj=raw, mode="rb"), (".gz", ".tgz", ".gzip")),
    b"BZh": (bz2.BZ2File, (".bz2", ".tbz2")),
    b"\xfd7zXZ\x00": (lzma.LZMAFile, (".xz", ".txz")),
}
"""How packed files begin, what unpacks them, and the endings of their names."""
AS_TABLE = "save it as CSV in UTF-8, JSON lines or Parquet"
UNPACK = "unpack it, and name the file that was in it"
FOREIGN: dict[bytes, tuple[str, str]] = {
    b"\xd0\xcf\x11\xe0": ("an Excel workbook", AS_TABLE),
    b"(\xb5/\xfd": ("a zstd archive", UNPACK),
    b"\x04\x22M\x18": ("an lz4 archive", UNPACK),
    b"7z\xbc\xaf": ("a 7z archive", UNPACK),
    b"Rar!": ("a rar archive", UNPACK),
    b"SQLite format 3": ("a SQLite database", AS_TABLE),
    b"ARROW1": ("an Arrow (Feather) file", AS_TABLE),
    b"\x89HDF": ("an HDF5 file", AS_TABLE),
    b"\x93NUMPY": ("a numpy array", AS_TABLE),
    b"ORC": ("an ORC file", AS_TABLE),
    b"Obj\x01": ("an Avro file", AS_TABLE),
    b"%PDF": ("a PDF", AS_TABLE),
    b"version https://git-lfs": ("a pointer of Git LFS, not the file", "run `git lfs pull`"),
    **dict.fromkeys(
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        ("a Python pickle, which can run code when it is opened", AS_TABLE),
    ),
}
"""How files begin that are no tables, what they are, and what to do."""
WEB_PAGES = (b"<!doctype html", b"<html")


class Peek(NamedTuple):
    """Hold how a file begins when it is unpacked, and what it is named then."""

    head: bytes
    name: str
    is_packed: bool


def peek(path: Path, name: str) -> Peek:
    """Return how a file begins, unpacked. name: of the file, for errors.

    Raises ValueError as `open_packed`, and for a file that is no table.
    """
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(open(path, "rb"))
            stream, inner = _unpacked(raw, path.name, name, stack)
            found = Peek(stream.read(HEAD_BYTES), inner, stream is not raw)
    except (*DAMAGE, OSError) as error:
        raise damaged(error, path, name, str(error), REPLACE) from None
    for start, (what, fix) in FOREIGN.items():
        if found.head.startswith(start):
            raise ValueError(f"{name}: is {what}; {fix}")
    if found.head.lstrip().lower().startswith(WEB_PAGES):
        raise ValueError(f"{name}: is a web page, not a table; download the file itself")
    is_text = not found.head.startswith((PARQUET, *UTF_16))
    if is_text and b"\0" in found.head:
        raise ValueError(f"{name}: holds bytes that are 0, and so is no text in UTF-8; {AS_TABLE}")
    return found


def opener_of(name: str) -> Callable[[Path, io.BufferedReader, ExitStack], IO[bytes]]:
    """Return a function that opens a file unpacked. name: of the file, for its errors."""

    def open_packed(path: Path, raw: io.BufferedReader, stack: ExitStack) -> IO[bytes]:
        return _unpacked(raw, path.name, name, stack)[0]

    return open_packed


def _unpacked(
    raw: io.BufferedReader, inner: str, name: str, stack: ExitStack
) -> tuple[IO[bytes], str]:
    """Return the stream of unpacked bytes, and the name of what is in it.

    raw: a file that can be searched and peeked into. inner: its name without folders. name: of the
    user's file, for errors. Raises ValueError for an archive with several files, and for workbooks.
    """
    start = raw.peek(HEAD_BYTES)[:HEAD_BYTES]
    if start.startswith(b"PK\x03\x04"):
        archive = stack.enter_context(zipfile.ZipFile(raw))
        member = _only_file(archive.namelist(), name)
        stream = stack.enter_context(archive.open(member))
        return _unpacked(_buffered(stream), PurePosixPath(member).name, name, stack)
    if start[TAR_PLACE : TAR_PLACE + 5] == b"ustar":
        tar = stack.enter_context(tarfile.open(fileobj=raw))  # noqa: SIM115 - the stack closes it
        member = _only_file([entry.name for entry in tar.getmembers() if entry.isfile()], name)
        opened = tar.extractfile(member)
        assert opened is not None  # as the entry is a file
        stream = stack.enter_context(opened)
        return _unpacked(_buffered(stream), PurePosixPath(member).name, name, stack)
    for magic, (unpack, endings) in UNPACKERS.items():
        if start.startswith(magic) or inner.lower().endswith(endings):
            stream = stack.enter_context(unpack(raw))
            return _unpacked(_buffered(stream), _without(inner, endings), name, stack)
    return cast("IO[bytes]", raw), inner


def _buffered(stream: IO[bytes]) -> io.BufferedReader:
    """Return a stream that can be peeked into."""
    return io.BufferedReader(cast("io.RawIOBase", stream))


def _without(name: str, endings: tuple[str, ...]) -> str:
    """Return a name without its last ending, if that is one of the given ones."""
    stem, dot, ending = name.rpartition(".")
    return stem if f"{dot}{ending.lower()}" in endings else name


def _only_file(names: list[str], name: str) -> str:
    """Return the one file of an archive; those that systems add do not count.

    Raises ValueError that names the files when there are several.
    """
    if "xl/workbook.xml" in names:
        raise ValueError(f"{name}: is an Excel workbook; {AS_TABLE}")
    if {"mimetype", "content.xml"} <= set(names):
        raise ValueError(f"{name}: is an OpenDocument file; {AS_TABLE}")
    files = [
        member
        for member in names
        if not member.endswith("/")
        and not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(member).parts)
    ]
    if len(files) == 1:
        return files[0]
    found = ", ".join(files[:4]) + (" ..." if len(files) > 4 else "")
    raise ValueError(
        f"{name}: is an archive with {len(files)} files ({found or 'none'}); unpack it, and name "
        "the file or the folder of parts to read"
    )
