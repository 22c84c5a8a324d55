"""Files of the user's own: their checksums for params.yaml, and whether they are still what was
read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from glta.datasets.catalogue import table_files
from glta.params.model import Params
from glta.storage.files import read_json, sha256_of


def own_files(params: Params) -> Iterator[tuple[str, str, Path]]:
    """Yield (dataset, role, path) of the files of `tables` below the working directory or at their
    full path.

    role: interactions or items. Those of a mirror are left out: nobody here has changed them.
    """
    for dataset, table in params.tables.items():
        for role in table_files(table.interactions, table.items):
            path = Path(getattr(table, role))
            if path.is_file():
                yield dataset, role, path


def with_checksums(params: Params) -> Params:
    """Return the parameters with today's checksums of the user's own files: a change of these is
    what both engines see.
    """
    tables = dict(params.tables)
    for dataset, role, path in own_files(params):
        if (digest := sha256_of(path)) != getattr(tables[dataset], f"{role}_sha256"):
            tables[dataset] = tables[dataset].model_copy(update={f"{role}_sha256": digest})
    return params.model_copy(update={"tables": tables})


def refuse_changed(params: Params, data: Path) -> None:
    """Raise ValueError when a file of the user's own is no longer what was read of it and
    params.yaml does not say so.

    data: holds DATASET/download. A file of the same size that is older than what was read of it
    counts as the same.
    """
    for dataset, role, path in own_files(params):
        source = data / dataset / "download/source.json"
        if dataset not in params.datasets or not source.is_file():
            continue
        table = params.tables[dataset]
        was = read_json(source)["files"].get(table_files(table.interactions, table.items)[role])
        now = path.stat()
        if was is None or (now.st_size == was["bytes"] and now.st_mtime < source.stat().st_mtime):
            continue
        if sha256_of(path) not in (was["sha256"], getattr(table, f"{role}_sha256")):
            raise ValueError(
                f"{dataset}: {path} has changed since it was read: `glta params sync` makes all "
                "that follows from it stale"
            )
