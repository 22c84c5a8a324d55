"""Measure the lists of one method, and collect what the report shows of it."""

from __future__ import annotations

from pathlib import Path

from glta.params.model import Params
from glta.storage.cell import Cell, folder
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int, method: str) -> None:
    """Write metrics.json, users.parquet and summary.json.

    This stage alone reads the test pairs.
    """
    import polars as pl

    from glta.data.prepared import Prepared
    from glta.evaluation.measure import measure_lists
    from glta.storage.files import read_json, whole_folder, write_json

    def optional(path: Path):
        return read_json(path) if path.exists() else None

    cell = Cell(dataset, seed)
    prepared = Prepared.load(cell.prepare)
    lists, model = cell.lists(method), cell.model(method)
    valid = pl.read_parquet(lists / "valid.parquet")
    test = pl.read_parquet(lists / "test.parquet")
    among_new = lists / "new.parquet"
    new = pl.read_parquet(among_new) if among_new.exists() else None
    result = measure_lists(prepared, valid=valid, test=test, options=params.evaluate, new=new)

    history = optional(model / "history.json")
    summary = {
        "dataset": dataset,
        "seed": seed,
        "method": method,
        "source": optional(folder(dataset, "download", "source.json")),
        "counts": optional(cell.prepare / "counts.json"),
        "model": optional(model / "model.json"),
        "history": {"training": history} if isinstance(history, list) else history or {},
        "groups": result.groups,
        "popularity": result.popularity,
    }
    with whole_folder(cell.evaluated(method)) as out:
        write_json(out / "metrics.json", result.metrics)
        result.users.write_parquet(out / "users.parquet")
        write_json(out / "summary.json", summary)


if __name__ == "__main__":
    run(main)
