"""Fetch a dataset's files: whole, checked, from their owner, from a mirror or from the user's own
folder.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import pooch

from glta.datasets import sample
from glta.datasets.catalogue import REGISTRY, table_files
from glta.datasets.settings import TableSettings
from glta.progress import bar
from glta.storage.files import read_json, sha256_of, whole_folder, write_json, write_whole

TRIES = 4
WAIT_SECONDS = 1.0  # before the second try; doubled before each further one
TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 16
CACHE = Path(
    ".cache/downloads"
)  # files from the network by checksum: a stage made stale by an edit fetches nothing again
RECORDED = Path(
    "checksums"
)  # SOURCE.json: what files without a published checksum had at their first download; kept in git


def download(
    dataset: str, tables: Mapping[str, TableSettings], folder: Path, *, mirror: str = ""
) -> dict:
    """Write a dataset's files and source.json into `folder`, whole or not at all. Returns the
    content of source.json.

    Raises ValueError, with the fix, for an unknown dataset, a wrong checksum, a missing file or an
    unreachable address; OSError when the disk is full. What a broken download has got so far waits
    beside the folder for the next attempt.
    """
    about, files = describe(dataset, tables)
    source = source_of(dataset)
    record = RECORDED / f"{source}.json"
    recorded = read_json(record) if dataset in REGISTRY and record.exists() else {}
    mirror = os.environ.get("GLTA_MIRROR") or mirror
    parts = folder.with_name(f".{folder.name}.parts")
    with whole_folder(folder) as out:
        if about["synthetic"]:
            sample.write(out)
        for name, (address, checksum) in files.items():
            place = locate(address, source, mirror)
            if (
                dataset in REGISTRY
                and not _is_http(address)
                and not _is_http(place)
                and not Path(place).is_file()
            ):
                raise ValueError(
                    f"{dataset}: {name} is not for download by programs; get it by hand from "
                    f"{about['homepage']} and set "
                    "`mirror` in params.yaml (or GLTA_MIRROR) to a folder that holds "
                    f"{source}/{name} (docs/datasets.md)"
                )
            hint = f"{source}/{Path(address).name}"
            if checksum or dataset not in REGISTRY:
                fetch(place, out / name, checksum, parts, hint)
            elif name in recorded:
                fetch(
                    place,
                    out / name,
                    recorded[name],
                    parts,
                    hint,
                    f"recorded in {record} at the first download",
                )
            else:
                fetch(place, out / name, None, parts, hint)
                recorded |= {name: f"sha256:{sha256_of(out / name)}"}
                if _is_http(place):
                    _keep(out / name, recorded[name])
                write_json(
                    record, recorded
                )  # at once: should the next file fail, this one has not to come again
        about["files"] = {
            path.name: {
                "sha256": sha256_of(path),
                "bytes": path.stat().st_size,
                "address": files[path.name][0] if path.name in files else "",
                "expected": _expected(dataset, files[path.name][1]) if path.name in files else "",
            }
            for path in sorted(out.iterdir())
        }
        write_json(out / "source.json", about)
    shutil.rmtree(parts, ignore_errors=True)
    return about


def _expected(dataset: str, checksum: str | None) -> str:
    """Tell where the checksum that a file had to have came from: its owner, the user, or its own
    first download.
    """
    if dataset in REGISTRY:
        return "published" if checksum else "first download"
    return "params.yaml" if checksum else ""


def describe(
    dataset: str, tables: Mapping[str, TableSettings]
) -> tuple[dict, dict[str, tuple[str, str | None]]]:
    """Return what source.json says of a dataset, and {name: (address, checksum)} of its files.

    The address is the owner's also when a mirror serves the file, so that equal files give an equal
    source.json.
    """
    if dataset in REGISTRY:
        d = REGISTRY[dataset]
        about = {
            "synthetic": d.synthetic,
            "licence": d.licence,
            "citation": d.citation,
            "homepage": d.homepage,
        }
        return {"dataset": dataset, **about}, {
            f.name: (f.address, f.checksum or None) for f in d.files.values()
        }
    if dataset not in tables:
        raise ValueError(
            f"{dataset}: is no registered dataset, nor one of tables in params.yaml; `glta "
            "datasets` lists all"
        )
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
        files[name] = (getattr(table, role), f"sha256:{digest}" if digest else None)
    return about, files


def source_of(dataset: str) -> str:
    """Return the dataset that has the same files: that of a paper's preset, else itself."""
    return (REGISTRY[dataset].source if dataset in REGISTRY else "") or dataset


def locate(address: str, dataset: str, mirror: str) -> str:
    """Return where to read a file: beside the working directory if it is there, else below the
    mirror, else its address.
    """
    if not _is_http(address) and Path(address).is_file():
        return address
    if not mirror:
        return address
    return f"{mirror.rstrip('/')}/{dataset}/{address.replace(chr(92), '/').rpartition('/')[2]}"


def fetch(
    source: str, target: Path, checksum: str | None, parts: Path, hint: str, origin: str = ""
) -> None:
    """Copy or download one file to `target` and check it. checksum: `sha256:...` or `md5:...`, None
    checks nothing.

    origin: where the checksum stands, if not in the registry or in params.yaml.

    parts: where an unfinished download waits; it is taken up again only if a checksum, or the
    version that the server names, can tell whether the halves fit. What came from the network with
    a checksum is kept in CACHE and checked again when it is used.
    """
    if not _is_http(source):
        if not Path(source).is_file():
            raise ValueError(
                f"{source}: no such file; correct its path in params.yaml, or `mirror` (or "
                f"GLTA_MIRROR), which must hold {hint}"
            )
        shutil.copyfile(source, target)
        return _check(source, target, checksum, origin)
    cached = CACHE / checksum.replace(":", "-") if checksum else None
    if cached and cached.is_file():
        shutil.copyfile(cached, target)
        try:
            return _check(str(cached), target, checksum, origin)
        except ValueError:
            cached.unlink()
    part = parts / pooch.utils.unique_file_name(source)
    if checksum is None and not _version_file(part).exists():
        part.unlink(missing_ok=True)
    resumed = part.exists()
    # Our own messages say what pooch would log.
    pooch.get_logger().setLevel(logging.ERROR)

    def transfer(address: str, output: str, _: object) -> None:
        part.parent.mkdir(parents=True, exist_ok=True)
        _transfer(address, part, hint)
        part.replace(output)
        _version_file(part).unlink(missing_ok=True)

    pooch.retrieve(source, None, target.name, target.parent, downloader=transfer)
    try:
        _check(source, target, checksum, origin)
    except ValueError:
        if not resumed:
            raise
        # the old half may have been another version's: once more from the start
        return fetch(source, target, checksum, parts, hint, origin)
    if checksum:
        _keep(target, checksum)
    return None


def _keep(target: Path, checksum: str) -> None:
    cached = CACHE / checksum.replace(":", "-")
    CACHE.mkdir(parents=True, exist_ok=True)
    shutil.move(target, cached)  # first: should the disk be full now, nothing has to come again
    shutil.copyfile(cached, target)


def _check(source: str, path: Path, checksum: str | None, origin: str) -> None:
    if checksum is None:
        return
    algorithm, _, expected = checksum.rpartition(":")
    found = pooch.file_hash(str(path), alg=algorithm or "sha256")
    if found != expected.lower():
        path.unlink()
        raise ValueError(
            f"{path.name}: wrong {algorithm}: expected "
            f"{expected.lower()}{f', {origin}' if origin else ''}, found {found} "
            f"({source}); the file was changed or damaged: try again, use another mirror, or, if "
            "the change is meant, correct "
            "the checksum (`glta params sync` does for files of your own)"
        )


def _transfer(address: str, part: Path, hint: str) -> None:
    """Download into `part`, going on where it ends; try again after a broken connection."""
    from requests import RequestException

    for attempt in range(TRIES):
        try:
            return _attempt(address, part)
        except RequestException as error:
            status = error.response.status_code if error.response is not None else None
            if status == 416:  # the server has no more than we have: the old half is of no use
                part.unlink(missing_ok=True)
            elif status is not None and status < 500 and status != 429:
                raise ValueError(
                    f"{address}: the server answers {status} {error.response.reason}; "
                    f"{_advice(hint)}"
                ) from None
            reason = (
                f"the server answers {status}" if status else f"no connection ({_innermost(error)})"
            )
            if attempt + 1 < TRIES:
                time.sleep(WAIT_SECONDS * 2**attempt)
    raise ValueError(
        f"{address}: {reason}, tried {TRIES} times; check the network, or {_advice(hint)}"
    )


def _attempt(address: str, part: Path) -> None:
    """Make one request through pooch, for the rest of the file if a part of it is there and it has
    not changed since.
    """
    from requests import ConnectionError

    have = part.stat().st_size if part.exists() else 0
    version = (
        _version_file(part).read_text(encoding="utf-8")
        if have and _version_file(part).exists()
        else ""
    )
    rest = {"Range": f"bytes={have}-"} if have else {}
    progress = _Progress()
    with part.open("ab") as output, ExitStack() as stack:

        def begin(response, *args, **kwargs) -> None:
            named = _version(response.headers)
            if (
                response.status_code == 206 and version and named != version
            ):  # a server that does not know If-Range
                output.truncate(0)
                raise ConnectionError("the file was changed meanwhile")
            if (
                response.status_code == 200
            ):  # the whole file: it has changed, or the server does not know Range
                output.truncate(0)
                _version_file(part).unlink(missing_ok=True)
                if named:
                    write_whole(_version_file(part), named)
            if response.status_code in (200, 206):
                start = have if response.status_code == 206 else 0
                progress.left = int(response.headers.get("Content-Length", 0))
                progress.advance = stack.enter_context(
                    bar(start + progress.left or None, f"{Path(address).name}, bytes")
                )
                progress.advance(start)

        pooch.HTTPDownloader(
            progressbar=progress,
            chunk_size=CHUNK_BYTES,
            timeout=TIMEOUT_SECONDS,
            hooks={"response": begin},
            # identity: a server that unpacks .gz on the way would change the bytes
            headers={
                "Accept-Encoding": "identity",
                **rest,
                **({"If-Range": version} if version else {}),
            },
        )(address, output, None)


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _version(headers: Mapping[str, str]) -> str:
    """Return what tells two versions of a file apart, as If-Range takes it; empty where the server
    names nothing.
    """
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


class _Progress:
    """What pooch reports to: whole chunks, also when the last one is smaller, and in the end the
    total once more.
    """

    total = 0
    left = 0
    advance: Callable[[int], None]

    def update(self, size: int) -> None:
        size = min(size, self.left)
        self.left -= size
        self.advance(size)

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass


def _is_http(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _advice(hint: str) -> str:
    return f"set `mirror` in params.yaml (or GLTA_MIRROR) to a folder or address that holds {hint}"


def _innermost(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
