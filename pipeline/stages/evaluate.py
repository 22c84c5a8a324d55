"""Measure the lists of one method, and collect what the report shows of it."""

from __future__ import annotations

from pathlib import Path

from glta.params.model import Params
from glta.storage.cell import Cell, folder
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int, method: str) -> None:
    """Write metrics.json, users.parquet and summary.json.

    This stage alone reads the test pairs. Raises ValueError for lists of other prepared data.
    """
    from glta.data.made_from import refuse_other_data
    from glta.data.prepared import Prepared
    from glta.evaluation.evaluated import Evaluated
    from glta.evaluation.lists import Lists
    from glta.evaluation.measure import measure_lists
    from glta.methods.exhibit import Exhibit
    from glta.storage.files import read_json, whole_folder

    def optional(path: Path):
        return read_json(path) if path.exists() else None

    cell = Cell(dataset, seed)
    prepared = Prepared.load(cell.prepare)
    lists = Lists.load(cell.lists(method))
    refuse_other_data(cell.lists(method), prepared, stage=f"evaluate@{dataset}-{seed}-{method}")
    result = measure_lists(
        prepared,
        valid=lists.valid,
        test=lists.test,
        fitted=prepared.seen if params.recommend.refit else prepared.train,
        options=params.evaluate,
        new=lists.new,
    )
    model = cell.model(method)
    history = optional(model / "history.json")
    exhibit = Exhibit.load(model)
    summary = {
        "dataset": dataset,
        "seed": seed,
        "method": method,
        "prepared": prepared.digest,
        "source": optional(folder(dataset, "download", "source.json")),
        "counts": optional(cell.prepare / "counts.json"),
        "model": optional(model / "model.json"),
        "history": {"training": history} if isinstance(history, list) else history or {},
        "exhibit": exhibit.as_json() if exhibit else None,
        "groups": result.groups,
        "popularity": result.popularity,
    }
    with whole_folder(cell.evaluated(method)) as out:
        Evaluated(result.metrics, result.users, summary).save(out)


if __name__ == "__main__":
    run(main)
