"""Write what the stage `profile` writes, from the shards of the stage `profile-part`."""

from __future__ import annotations

from glta.data.prepared import Prepared
from glta.features.make_profiles import ProfileMaker, ProfileShard
from glta.params.model import Params
from glta.params.own_models import refuse_other_models
from glta.storage.cell import Cell
from glta.storage.files import whole_folder
from glta.storage.shard import Shard
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int, of: int) -> None:
    """Write data/DATASET/SEED/profile from `of` shards."""
    refuse_other_models(params)
    cell = Cell(dataset, seed)
    maker = ProfileMaker(Prepared.load(cell.prepare), params.profile, params.language)
    folders = [cell.shard("profile", Shard(part, of)) for part in range(of)]
    try:
        joined = maker.join([ProfileShard.load(folder) for folder in folders])
    except ValueError as error:
        names = [f"profile-part@{dataset}-{seed}-{of}-{part}" for part in range(of)]
        raise ValueError(
            f"{error}; make all shards again: `dvc repro --force --single-item {' '.join(names)}`"
        ) from error
    with whole_folder(cell.step("profile")) as out:
        joined.save(out)


if __name__ == "__main__":
    run(main)
