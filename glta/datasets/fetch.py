"""Fetch the files of a dataset, checked, from their owner, a mirror or the user's folder."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pooch

from glta.datasets import sample
from glta.datasets.catalogue import (
    REGISTRY,
    digest_of_table,
    file_name,
    parts_of,
    table_files,
    unknown_dataset,
)
from glta.datasets.settings import TableSettings
from glta.progress import Advance, bar
from glta.storage.digests import visible_files
from glta.storage.files import read_json, sha256_of, whole_folder, write_json, write_whole

TRIES = 4
WAIT_SECONDS = 1.0  # before the second try; doubled before each further one
TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 16
# Files from the network, named by their checksums. An edit that makes the stage stale then fetches
# nothing again.
CACHE = Path(".cache/downloads")
# SOURCE.json, kept in git: the checksums that files without a published one had at their first
# download.
RECORDED = Path("checksums")


class WantedFile(NamedTuple):
    """Name a file to fetch: its address, and the checksum that its owner or the user gives."""

    address: str
    checksum: str | None


def download(
    dataset: str, tables: Mapping[str, TableSettings], folder: Path, *, mirror: str = ""
) -> dict[str, Any]:
    """Write the files of a dataset and source.json into `folder`, whole or not at all.

    tables: the user's own datasets, by name. mirror: folder or http address that holds SOURCE/NAME
    for each file; GLTA_MIRROR takes its place. Returns the content of source.json. What a broken
    download has got so far waits beside the folder for the next attempt.

    Raises ValueError, with the fix, for an unknown dataset, a wrong checksum, a missing file or an
    unreachable address; OSError when the disk is full.
    """
    about, files = describe(dataset, tables)
    mirror = os.environ.get("GLTA_MIRROR") or mirror
    parts = folder.with_name(f".{folder.name}.parts")
    with whole_folder(folder) as out:
        if about["synthetic"]:
            sample.write(out)
        for name, file in files.items():
            place = locate(dataset, file.address, mirror)
            if dataset in REGISTRY and not is_http(file.address):
                _need_hand_fetched(dataset, file.address, place, mirror)
            hint = f"{source_of(dataset)}/{file_name(file.address)}"
            if dataset in REGISTRY and file.checksum is None:
                _fetch_recorded(dataset, place, out / name, parts=parts, hint=hint)
            else:
                fetch(place, out / name, checksum=file.checksum, parts=parts, hint=hint)
        about["files"] = {
            path.relative_to(out).as_posix(): _describe_file(
                dataset, path, files.get(path.relative_to(out).parts[0])
            )
            for path in visible_files(out)
        }
        write_json(out / "source.json", about)
    shutil.rmtree(parts, ignore_errors=True)
    return about


def describe(
    dataset: str, tables: Mapping[str, TableSettings]
) -> tuple[dict[str, Any], dict[str, WantedFile]]:
    """Return what source.json tells of a dataset, and its files by name.

    The address of a file is the owner's even when a mirror serves it, so that equal files give an
    equal source.json. Raises ValueError for an unknown dataset.
    """
    if dataset in REGISTRY:
        entry = REGISTRY[dataset]
        about = {
            "dataset": dataset,
            "synthetic": entry.synthetic,
            "licence": entry.licence,
            "citation": entry.citation,
            "homepage": entry.homepage,
        }
        files = {
            file.name: WantedFile(file.address, file.checksum or None)
            for file in entry.files.values()
        }
        return about, files
    if dataset not in tables:
        raise unknown_dataset(dataset)
    table = tables[dataset]
    about = {
        "dataset": dataset,
        "synthetic": False,
        "licence": table.licence,
        "citation": "",
        "homepage": "",
    }
    files = {}
    for role, name in table_files(table.interactions, table.items).items():
        digest = getattr(table, f"{role}_sha256")
        checksum = f"sha256:{digest}" if digest else None
        files[name] = WantedFile(getattr(table, role), checksum)
    return about, files


def source_of(dataset: str) -> str:
    """Return the dataset that has the same files: that of a paper's preset, else itself."""
    return (REGISTRY[dataset].source if dataset in REGISTRY else "") or dataset


def locate(dataset: str, address: str, mirror: str) -> str:
    """Return where to read a file: a path or an http address.

    A file of the user's own is read at its path if it is there. All others are read below the
    mirror or, without one, at their address.
    """
    if dataset not in REGISTRY and not is_http(address) and Path(address).exists():
        return address
    if not mirror:
        return address
    return f"{mirror.rstrip('/')}/{source_of(dataset)}/{file_name(address)}"


def missing_files(tables: Mapping[str, TableSettings], mirror: str) -> list[str]:
    """Return a line for each file of `tables` that is neither here nor in a folder as a mirror.

    mirror: as for `download`. Files on the network are not looked for.
    """
    mirror = os.environ.get("GLTA_MIRROR") or mirror
    lines = []
    for dataset, table in tables.items():
        for role in table_files(table.interactions, table.items):
            place = locate(dataset, getattr(table, role), mirror)
            if not is_http(place) and not Path(place).exists():
                lines.append(
                    f"tables.{dataset}.{role}: {place}: no such file; it has no new checksum, and "
                    "the stage download will not find it; correct the path"
                )
    return lines


def is_http(address: str) -> bool:
    """Tell an http address from a path."""
    return address.startswith(("http://", "https://"))


def _need_hand_fetched(dataset: str, name: str, place: str, mirror: str) -> None:
    """Raise ValueError when the mirror lacks a file that only the user can fetch."""
    if mirror and (is_http(place) or Path(place).is_file()):
        return
    raise ValueError(
        f"{dataset}: {name} is not for download by programs; get it by hand from "
        f"{REGISTRY[dataset].homepage} and set `mirror` in params.yaml (or GLTA_MIRROR) to a "
        f"folder that holds {source_of(dataset)}/{name} (docs/datasets.md)"
    )


def _fetch_recorded(dataset: str, place: str, target: Path, *, parts: Path, hint: str) -> None:
    """Fetch a file without a published checksum: record it at first, then check it."""
    record = RECORDED / f"{source_of(dataset)}.json"
    recorded = read_json(record) if record.exists() else {}
    name = target.name
    if name in recorded:
        origin = f"recorded in {record} at the first download"
        fetch(place, target, checksum=recorded[name], parts=parts, hint=hint, origin=origin)
        return
    fetch(place, target, checksum=None, parts=parts, hint=hint)
    checksum = f"sha256:{sha256_of(target)}"
    if is_http(place):
        _keep(target, checksum)
    # written after each file: if the next one fails, this one need not come again
    write_json(record, recorded | {name: checksum})


def _describe_file(dataset: str, path: Path, file: WantedFile | None) -> dict[str, Any]:
    """Return what source.json tells of a file. file: None for one that was made here."""
    return {
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "address": file.address if file else "",
        "expected": _origin_of_checksum(dataset, file.checksum) if file else "",
    }


def _origin_of_checksum(dataset: str, checksum: str | None) -> str:
    """Tell who gave the checksum of a file: its owner, its first download, the user or nobody."""
    if dataset in REGISTRY:
        return "published" if checksum else "first download"
    return "params.yaml" if checksum else ""


def fetch(
    source: str,
    target: Path,
    *,
    checksum: str | None,
    parts: Path,
    hint: str,
    origin: str = "",
) -> None:
    """Copy or download one file from `source` to `target`, and check it.

    checksum: `sha256:...` or `md5:...`; None checks nothing. parts: the folder in which an
    unfinished download waits. It is continued only if a checksum, or the version that the server
    names, can tell whether its two halves fit. hint: the file's place below a mirror, for errors.
    origin: where the checksum is written, if not in the registry or in params.yaml.

    A file from the network that has a checksum is kept in CACHE, and checked again when it is used.
    Raises ValueError for a missing file, a wrong checksum and an unreachable address.
    """
    if not is_http(source):
        if not Path(source).exists():
            raise ValueError(
                f"{source}: no such file; correct its path in params.yaml, or `mirror` (or "
                f"GLTA_MIRROR), which must hold {hint}"
            )
        _copy_table(Path(source), target)
        _check(source, target, checksum, origin)
        return
    if checksum and _copy_from_cache(target, checksum, origin):
        return
    part = parts / pooch.utils.unique_file_name(source)
    if checksum is None and not _version_file(part).exists():
        part.unlink(missing_ok=True)
    continued = part.exists()
    _download(source, target, part, hint)
    try:
        _check(source, target, checksum, origin)
    except ValueError:
        if not continued:
            raise
        # The first half may belong to another version of the file: once more from the start.
        fetch(source, target, checksum=checksum, parts=parts, hint=hint, origin=origin)
        return
    if checksum:
        _keep(target, checksum)


def _copy_table(source: Path, target: Path) -> None:
    """Copy a file, or the parts of a folder. Raises ValueError when the folder has none."""
    parts = parts_of(source)
    if not parts:
        raise ValueError(f"{source}: is a folder without files; name a file, or a folder of parts")
    for part in parts:
        copy = target / part.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, copy)


def _cached(checksum: str) -> Path:
    return CACHE / checksum.replace(":", "-")


def _copy_from_cache(target: Path, checksum: str, origin: str) -> bool:
    """Copy a file that was fetched before, and tell whether there is one; delete a damaged one."""
    cached = _cached(checksum)
    if not cached.is_file():
        return False
    shutil.copyfile(cached, target)
    try:
        _check(str(cached), target, checksum, origin)
    except ValueError:
        cached.unlink()
        return False
    return True


def _keep(target: Path, checksum: str) -> None:
    """Keep a fetched file in CACHE too."""
    cached = _cached(checksum)
    CACHE.mkdir(parents=True, exist_ok=True)
    # Moved first: if the disk is full at the copy, the download is not lost.
    shutil.move(target, cached)
    shutil.copyfile(cached, target)


def _check(source: str, path: Path, checksum: str | None, origin: str) -> None:
    """Delete the file and raise ValueError when it has another checksum."""
    if checksum is None:
        return
    algorithm, _, digest = checksum.rpartition(":")
    algorithm = algorithm or "sha256"
    expected = digest.lower()
    found = digest_of_table(path) if path.is_dir() else pooch.file_hash(str(path), alg=algorithm)
    if found != expected:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        written = f", {origin}" if origin else ""
        raise ValueError(
            f"{path.name}: wrong {algorithm}: expected {expected}{written}, found {found} "
            f"({source}); the file was changed or damaged: try again, use another mirror, or, if "
            "the change is meant, correct the checksum (`glta params sync` does for files of your "
            "own)"
        )


def _download(address: str, target: Path, part: Path, hint: str) -> None:
    """Download a file through `part`, which stays when the connection breaks."""
    # The errors and the bar of this module say what pooch would log.
    pooch.get_logger().setLevel(logging.ERROR)

    def transfer(address: str, output: str, _: object) -> None:
        part.parent.mkdir(parents=True, exist_ok=True)
        _transfer(address, part, hint)
        part.replace(output)
        _version_file(part).unlink(missing_ok=True)

    pooch.retrieve(address, None, target.name, target.parent, downloader=transfer)


def _transfer(address: str, part: Path, hint: str) -> None:
    """Download into `part`, continuing where it ends; try again after a broken connection."""
    from requests import RequestException

    reason = ""
    for attempt in range(TRIES):
        try:
            _attempt(address, part)
            return
        except RequestException as error:
            response = error.response
            if response is None:
                reason = f"no connection ({_innermost(error)})"
            else:
                reason = f"the server answers {response.status_code}"
                if response.status_code == 416:
                    # The server has no more than we have: the first half is of no use.
                    part.unlink(missing_ok=True)
                elif response.status_code < 500 and response.status_code != 429:
                    raise ValueError(
                        f"{address}: {reason} {response.reason}; {_mirror_fix(hint)}"
                    ) from None
            if attempt + 1 < TRIES:
                time.sleep(WAIT_SECONDS * 2**attempt)
    raise ValueError(
        f"{address}: {reason}, tried {TRIES} times; check the network, or {_mirror_fix(hint)}"
    )


def _attempt(address: str, part: Path) -> None:
    """Make one request through pooch: for the rest of a file that is there in part, else for all.

    The rest is used only if the server's version of the file is still the same.
    """
    import requests

    version_file = _version_file(part)
    have = part.stat().st_size if part.exists() else 0
    version = version_file.read_text(encoding="utf-8") if have and version_file.exists() else ""
    # identity: a server that unpacks .gz on the way would change the bytes
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    if version:
        headers["If-Range"] = version
    progress = _Progress()
    with part.open("ab") as output, ExitStack() as stack:

        def begin(response: requests.Response, *args: object, **kwargs: object) -> None:
            named = _version(response.headers)
            status = response.status_code
            if status == 206 and version and named != version:
                # The server does not know If-Range, and sends the rest of another version.
                output.truncate(0)
                raise requests.ConnectionError("the file was changed meanwhile")
            if status == 200:
                # The whole file: it has changed, or the server does not know Range.
                output.truncate(0)
                version_file.unlink(missing_ok=True)
                if named:
                    write_whole(version_file, named)
            if status in (200, 206):
                start = have if status == 206 else 0
                progress.left = int(response.headers.get("Content-Length", 0))
                total = start + progress.left
                description = f"{file_name(address)}, bytes"
                progress.advance = stack.enter_context(bar(total or None, description))
                progress.advance(start)

        fetch_all = pooch.HTTPDownloader(
            progressbar=progress,
            chunk_size=CHUNK_BYTES,
            timeout=TIMEOUT_SECONDS,
            hooks={"response": begin},
            headers=headers,
        )
        fetch_all(address, output, None)


def _version_file(part: Path) -> Path:
    """Return the file that holds the server's version of an unfinished download."""
    return part.with_name(f"{part.name}.version")


def _version(headers: Mapping[str, str]) -> str:
    """Return the version of a file as If-Range takes it; empty where the server names none.

    That is the ETag, unless it is a weak one, or else the time of the last change.
    """
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


class _Progress:
    """Take what pooch reports, and show it in a bar.

    pooch reports the full size of each chunk, also for a smaller last one, and once more the total
    at the end. `left`, the bytes that are still to come, bounds both.
    """

    total = 0
    left = 0
    advance: Advance

    def update(self, size: int) -> None:
        size = min(size, self.left)
        self.left -= size
        self.advance(size)

    def reset(self) -> None:
        """Do nothing; pooch calls it."""

    def close(self) -> None:
        """Do nothing; pooch calls it."""


def _mirror_fix(hint: str) -> str:
    return f"set `mirror` in params.yaml (or GLTA_MIRROR) to a folder or address that holds {hint}"


def _innermost(error: BaseException) -> str:
    """Return the message of the first error of a chain."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
