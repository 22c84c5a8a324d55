"""Files as blocks of whole lines: plain, gzip, a member of a zip, or a tar within a zip.

Files are unpacked while they are read, never to the disk. `glta.io.packed` opens those of the user,
in whatever they are packed.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO

from glta.nearest import hint
from glta.progress import bar

Stream = IO[bytes] | gzip.GzipFile | io.BufferedReader
Opener = Callable[[Path, io.BufferedReader, ExitStack], Stream]

BLOCK_BYTES = 1 << 25  # read at a time, 32 MiB
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # how a file in UTF-16 begins
DOWNLOAD_AGAIN = "delete it and run the stage download again"
DAMAGE = (  # what the unpackers raise for a damaged file
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


class NoRows(ValueError):
    """Report a file that is empty, or has a header alone. A part of a folder may be such a file."""


def blocks(
    path: Path,
    *members: str,
    quote: bytes = b"",
    name: str = "",
    opener: Opener | None = None,
    again: str = DOWNLOAD_AGAIN,
) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file in blocks: the number of the first line, and its bytes.

    members: empty for a file of its own; a name in the zip archive `path`; or that of a tar in it
    and a name in the tar. quote: the character around cells that may hold line ends; a block then
    ends outside of quotes. A byte-order mark is left out. Line numbers start at 1.
    name: of the file, for errors; empty: that of its path. opener: opens the file, in place of
    `members`. again: what to do about a damaged file.

    Raises ValueError for a damaged file, with the line up to which it was read, for UTF-16 text,
    and for an archive with members that point outside of it. Raises NoRows for an empty file.
    """
    shown = name or str(path)
    name = name or (members[-1] if members else path.name)
    line = 1
    rest = b""
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(open(path, "rb"))
            stream = opener(path, raw, stack) if opener else _open(path, raw, members, stack)
            advance = _progress(path, name, stack)
            done = 0
            while chunk := stream.read(BLOCK_BYTES):
                advance(raw.tell() - done)
                done = raw.tell()
                if line == 1 and not rest:
                    chunk = _without_byte_order_mark(chunk, name)
                chunk = rest + chunk
                end = _end_of_lines(chunk, quote)
                block = chunk[:end]
                rest = chunk[end:]
                if block:
                    yield line, block
                    line += block.count(b"\n")
    except (*DAMAGE, OSError) as error:
        raise damaged(error, path, shown, f"{error}; read to {name} line {line}", again) from None
    if rest:
        yield line, rest
    elif line == 1:
        raise NoRows(f"{name}: is empty; {again}, or give a file with data")


def damaged(error: Exception, path: Path, shown: str, why: str, again: str) -> Exception:
    """Return a ValueError about a damaged file; but an error of the system, such as EIO, as it is.

    shown: name of the file. why, again: the reason, and what to do about it.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error
    kind = "no gzip file" if path.suffix == ".gz" else "no archive"
    return ValueError(f"{shown}: is damaged or {kind} ({why}); {again}")


def _progress(path: Path, name: str, stack: ExitStack) -> Callable[[int], None]:
    """Open a bar for a file of more than one block, and return what advances it."""
    size = path.stat().st_size
    if size <= BLOCK_BYTES:
        return lambda steps: None
    return stack.enter_context(bar(size, f"{name}, bytes"))


def _end_of_lines(chunk: bytes, quote: bytes) -> int:
    """Return where the last line of a chunk that is whole ends."""
    end = chunk.rfind(b"\n") + 1
    if quote and chunk.count(quote, 0, end) % 2:
        # An odd number of quotes: the last line end is inside a cell. That cell begins at the last
        # quote, so the line end before that quote is outside of all cells.
        end = chunk.rfind(b"\n", 0, chunk.rfind(quote, 0, end)) + 1
    return end


def _without_byte_order_mark(chunk: bytes, name: str) -> bytes:
    """Return the first chunk of a file without its mark. Raises ValueError for UTF-16."""
    if chunk.startswith(UTF_16):
        raise ValueError(f"{name} line 1: is UTF-16 text; save the file as UTF-8")
    return chunk.removeprefix(b"\xef\xbb\xbf")


def _open(path: Path, raw: io.BufferedReader, members: tuple[str, ...], stack: ExitStack) -> Stream:
    """Open the stream of unpacked bytes; the stack closes it."""
    if not members:
        packed = path.suffix == ".gz" or raw.peek(2)[:2] == b"\x1f\x8b"
        if not packed:
            return raw
        return stack.enter_context(gzip.GzipFile(fileobj=raw))
    archive = stack.enter_context(zipfile.ZipFile(raw))
    member = _find_in_zip(path, members[0], archive.namelist())
    stream = stack.enter_context(archive.open(member))
    return _open_in_tar(path, members[1], stream, stack) if len(members) > 1 else stream


def _find_in_zip(path: Path, member: str, names: list[str]) -> str:
    """Return the name of the member with this path, or else of the first that ends with it."""
    for name in names:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or "\\" in name:
            raise ValueError(
                f"{path}: holds a file named {name!r}, outside of the archive; do not use this "
                "archive"
            )
    if member in names:
        return member
    for name in names:
        if name.endswith(f"/{member}"):
            return name
    raise _no_member(path, member, names)


def _open_in_tar(path: Path, member: str, stream: IO[bytes], stack: ExitStack) -> IO[bytes]:
    """Open the first file of a tar that has this name, in any folder."""
    names = []
    tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r|*"))  # noqa: SIM115 - the stack closes it
    for entry in tar:
        names.append(entry.name)
        if entry.isfile() and PurePosixPath(entry.name).name == member:
            opened = tar.extractfile(entry)
            assert opened is not None  # as the entry is a file
            return opened
    raise _no_member(path, member, names)


def _no_member(path: Path, member: str, names: list[str]) -> ValueError:
    return ValueError(f"{path}: has no file {member}{hint(member, names)}; {DOWNLOAD_AGAIN}")
