"""Measure the lists of one method, and gather what the report shows of it."""

from __future__ import annotations

from pathlib import Path

from glta.params.model import Params
from glta.storage.cell import folder
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int, method: str) -> None:
    """Write metrics.json, users.parquet and summary.json; the one place that reads the test
    pairs.
    """
    import polars as pl

    from glta.data.prepared import Prepared
    from glta.evaluation.measure import measure_lists
    from glta.storage.files import read_json, whole_folder, write_json

    def optional(path: Path):
        return read_json(path) if path.exists() else None

    cell = folder(dataset, seed)
    prepared = Prepared.load(cell / "prepare")
    valid, test = (
        pl.read_parquet(cell / "recommend" / method / f"{part}.parquet")
        for part in ("valid", "test")
    )
    among_new = cell / "recommend" / method / "new.parquet"
    new = pl.read_parquet(among_new) if among_new.exists() else None
    result = measure_lists(prepared, valid=valid, test=test, options=params.evaluate, new=new)

    history = optional(cell / "models" / method / "history.json")
    if history is None and method == "lightgcn":  # it is the pretrained graph itself
        history = optional(cell / "pretrain" / "all" / "history.json")
    summary = {
        "dataset": dataset,
        "seed": seed,
        "method": method,
        "source": optional(folder(dataset, "download", "source.json")),
        "counts": optional(cell / "prepare" / "counts.json"),
        "model": optional(cell / "models" / method / "model.json"),
        "history": {"training": history} if isinstance(history, list) else history or {},
        "groups": result.groups,
        "popularity": result.popularity,
    }
    with whole_folder(folder("evaluate", dataset, seed, method)) as out:
        write_json(out / "metrics.json", result.metrics)
        result.users.write_parquet(out / "users.parquet")
        write_json(out / "summary.json", summary)


if __name__ == "__main__":
    run(main)
