"""Checksums of the user's own data files, and a check that they have not changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from glta.datasets.catalogue import table_files
from glta.params.model import Params
from glta.storage.files import read_json, sha256_of


def own_files(params: Params) -> Iterator[tuple[str, str, Path]]:
    """Yield (dataset, role, path) of the files in `tables` that are on this machine.

    role: interactions or items. Files that are only on a mirror are left out.
    """
    for dataset, table in params.tables.items():
        for role in table_files(table.interactions, table.items):
            path = Path(getattr(table, role))
            if path.is_file():
                yield dataset, role, path


def with_checksums(params: Params) -> Params:
    """Return the parameters with the present checksums of the user's own files.

    DVC and Snakemake see a change of a file by its checksum in params.yaml.
    """
    tables = dict(params.tables)
    for dataset, role, path in own_files(params):
        if (digest := sha256_of(path)) != getattr(tables[dataset], f"{role}_sha256"):
            tables[dataset] = tables[dataset].model_copy(update={f"{role}_sha256": digest})
    return params.model_copy(update={"tables": tables})


def refuse_changed(params: Params, data: Path) -> None:
    """Raise ValueError when a file of the user has changed since the stage `download` read it.

    A file passes if its present checksum is in params.yaml: then the engines know of the change. A
    file of the same size that is older than the copy is not read again, and passes.
    data: the folder that holds DATASET/download.
    """
    for dataset, role, path in own_files(params):
        source = data / dataset / "download/source.json"
        if dataset not in params.datasets or not source.is_file():
            continue
        table = params.tables[dataset]
        was = read_json(source)["files"].get(table_files(table.interactions, table.items)[role])
        if was is None:
            continue
        now = path.stat()
        if now.st_size == was["bytes"] and now.st_mtime < source.stat().st_mtime:
            continue
        if sha256_of(path) not in (was["sha256"], getattr(table, f"{role}_sha256")):
            raise ValueError(
                f"{dataset}: {path} has changed since it was read: `glta params sync` notes the "
                "change, and the next run computes again what depends on the file"
            )
