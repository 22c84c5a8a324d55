"""Write what the stage `recommend` writes, from the shards of the stage `recommend-part`."""

from __future__ import annotations

from glta.data.made_from import note_data_of_parts
from glta.evaluation.lists import Lists
from glta.params.model import Params
from glta.storage.cell import Cell
from glta.storage.files import whole_folder
from glta.storage.shard import Shard
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int, method: str, of: int) -> None:
    """Write data/DATASET/SEED/recommend/METHOD from `of` shards.

    Raises ValueError for shards of different prepared data.
    """
    cell = Cell(dataset, seed)
    folders = [cell.shard("recommend", Shard(part, of), method) for part in range(of)]
    lists = Lists.joined([Lists.load(folder) for folder in folders])
    with whole_folder(cell.lists(method)) as out:
        lists.save(out)
        note_data_of_parts(out, folders)


if __name__ == "__main__":
    run(main)
