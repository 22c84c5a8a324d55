"""Downloaded files as streams of whole lines: plain, gzip, zip or a tar within; unpacked on the
way, never to the disk.
"""

from __future__ import annotations

import difflib
import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from glta.progress import bar

BLOCK_BYTES = 1 << 25  # what is in memory at a time
AGAIN = "delete it and run the stage download again"
DAMAGE = (
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


def blocks(path: Path, *members: str, quote: bytes = b"") -> Iterator[tuple[int, bytes]]:
    """Yield (number of the first line, whole lines) of a file, of a member of a zip archive, or of
    a tar within that.

    quote: lines end only outside of a pair of them. A byte-order mark is left out. Raises
    ValueError for a damaged file, with the line it was read to, for an empty file, for UTF-16 text,
    and for archives with members that point outside.
    """
    name = members[-1] if members else path.name
    line, rest = 1, b""
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(open(path, "rb"))
            stream = _open(path, raw, members, stack)
            large = path.stat().st_size > BLOCK_BYTES
            advance = (
                stack.enter_context(bar(path.stat().st_size, f"{name}, bytes"))
                if large
                else lambda steps: None
            )
            done = 0
            while chunk := stream.read(BLOCK_BYTES):
                advance(raw.tell() - done)
                done = raw.tell()
                if line == 1 and not rest:
                    chunk = _start(chunk, name)
                chunk = rest + chunk
                end = chunk.rfind(b"\n") + 1
                if (
                    quote and chunk.count(quote, 0, end) % 2
                ):  # the last line end lies within a cell; none before its quote does
                    end = chunk.rfind(b"\n", 0, chunk.rfind(quote, 0, end)) + 1
                block, rest = chunk[:end], chunk[end:]
                if block:
                    yield line, block
                    line += block.count(b"\n")
    except DAMAGE as error:
        kind = "no gzip file" if path.suffix == ".gz" else "no archive"
        raise ValueError(
            f"{path}: is damaged or {kind} ({error}; read to {name} line {line}); {AGAIN}"
        ) from None
    if rest:
        yield line, rest
    elif line == 1:
        raise ValueError(f"{name}: is empty; {AGAIN}, or give a file with data")


def _start(chunk: bytes, name: str) -> bytes:
    if chunk[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{name} line 1: is UTF-16 text; save the file as UTF-8")
    return chunk.removeprefix(b"\xef\xbb\xbf")


def _open(path: Path, raw: BinaryIO, members: tuple[str, ...], stack: ExitStack) -> BinaryIO:
    if not members:
        packed = path.suffix == ".gz" or raw.peek(2)[:2] == b"\x1f\x8b"
        return stack.enter_context(gzip.GzipFile(fileobj=raw)) if packed else raw
    archive = stack.enter_context(zipfile.ZipFile(raw))
    stream = stack.enter_context(archive.open(_in_zip(path, members[0], archive.namelist())))
    return _in_tar(path, members[1], stream, stack) if len(members) > 1 else stream


def _in_zip(path: Path, member: str, names: list[str]) -> str:
    """Find the member with this path, or else the one that ends with it."""
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise ValueError(
                f"{path}: holds a file named {name!r}, outside of the archive; do not use this "
                "archive"
            )
    found = (
        member
        if member in names
        else next((name for name in names if name.endswith(f"/{member}")), None)
    )
    if found is None:
        raise _missing(path, member, names)
    return found


def _in_tar(path: Path, member: str, stream: BinaryIO, stack: ExitStack) -> BinaryIO:
    names = []
    tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r|*"))  # noqa: SIM115 (the stack closes it)
    for entry in tar:
        names.append(entry.name)
        if entry.isfile() and PurePosixPath(entry.name).name == member:
            return tar.extractfile(entry)
    raise _missing(path, member, names)


def _missing(path: Path, member: str, names: list[str]) -> ValueError:
    near = difflib.get_close_matches(member, names, n=1, cutoff=0.0)
    return ValueError(
        f"{path}: has no file {member}; nearest is {near[0] if near else 'none'}; {AGAIN}"
    )
