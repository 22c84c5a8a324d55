"""Checksums of the user's own data files, and checks that they have not changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from glta.datasets.catalogue import digest_of_table, table_files
from glta.params.model import Params
from glta.storage.digests import digest_of_parts
from glta.storage.files import read_json


class OwnFile(NamedTuple):
    """Name a file, or a folder of parts, of an entry of `tables`. role: interactions or items."""

    dataset: str
    role: str
    path: Path


def own_files(params: Params) -> Iterator[OwnFile]:
    """Yield the files in `tables` that are on this machine; not those of a mirror alone."""
    for dataset, table in params.tables.items():
        for role in table_files(table.interactions, table.items):
            path = Path(getattr(table, role))
            if path.exists():
                yield OwnFile(dataset, role, path)


def with_checksums(params: Params) -> Params:
    """Return the parameters with the present checksums of the user's own files.

    DVC and Snakemake see a change of a file by its checksum in params.yaml.
    """
    tables = dict(params.tables)
    for dataset, role, path in own_files(params):
        if (digest := digest_of_table(path)) != getattr(tables[dataset], f"{role}_sha256"):
            tables[dataset] = tables[dataset].model_copy(update={f"{role}_sha256": digest})
    return params.model_copy(update={"tables": tables})


def refuse_changed(params: Params, data: Path) -> None:
    """Raise ValueError when a file of the user has changed since the stage `download` read it.

    Contents are compared, as sizes and times can be those of another file. A file passes if its
    present checksum is in params.yaml: then the engines know of the change.
    data: the folder that holds DATASET/download.
    """
    for file in own_files(params):
        if file.dataset not in params.datasets:
            continue
        was = _read_before(file, params, data)
        stated = getattr(params.tables[file.dataset], f"{file.role}_sha256")
        if was is not None and digest_of_table(file.path) not in (was, stated):
            raise _changed(file)


def refuse_outdated(params: Params, dataset: str, data: Path) -> None:
    """Raise ValueError when a stage would read the copy of a file that is another one by now.

    The stages read what the stage `download` copied. data: the folder that holds DATASET/download.
    """
    for file in own_files(params):
        if file.dataset != dataset:
            continue
        was = _read_before(file, params, data)
        if was is None or (now := digest_of_table(file.path)) == was:
            continue
        if now != getattr(params.tables[dataset], f"{file.role}_sha256"):
            raise _changed(file)
        raise ValueError(
            f"{dataset}: {file.path} has changed, and {data / dataset / 'download'} has its old "
            "copy; run the stage download first (snakemake and `dvc repro` do)"
        )


def _changed(file: OwnFile) -> ValueError:
    return ValueError(
        f"{file.dataset}: {file.path} has changed since it was read: `glta params sync` notes the "
        "change, and the next run computes again what depends on the file"
    )


def _read_before(file: OwnFile, params: Params, data: Path) -> str | None:
    """Return the checksum of a file when the stage `download` read it; None if it never did."""
    source = data / file.dataset / "download/source.json"
    if not source.is_file():
        return None
    table = params.tables[file.dataset]
    name = table_files(table.interactions, table.items)[file.role]
    known = read_json(source)["files"]
    if name in known:
        return known[name]["sha256"]
    parts = {
        part.removeprefix(f"{name}/"): about["sha256"]
        for part, about in known.items()
        if part.startswith(f"{name}/")
    }
    return digest_of_parts(parts) if parts else None
