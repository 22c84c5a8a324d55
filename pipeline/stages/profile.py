"""Write item texts and user words, with their language-model states.

Words about users come from training items only.
"""

from __future__ import annotations

from glta.data.prepared import Prepared
from glta.features.make_profiles import ProfileMaker
from glta.params.model import Params
from glta.params.own_models import refuse_other_models
from glta.storage.cell import Cell
from glta.storage.files import whole_folder
from glta.storage.shard import Shard
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int, part: int = 0, of: int = 1) -> None:
    """Write data/DATASET/SEED/profile, or the shard `part` of `of`, when there are several."""
    refuse_other_models(params)
    cell = Cell(dataset, seed)
    maker = ProfileMaker(Prepared.load(cell.prepare), params.profile, params.language)
    shard = Shard(part, of)
    made = maker.shard(shard)
    if of > 1:
        with whole_folder(cell.shard("profile", shard)) as out:
            made.save(out)
        return
    with whole_folder(cell.step("profile")) as out:
        maker.join([made]).save(out)


if __name__ == "__main__":
    run(main)
