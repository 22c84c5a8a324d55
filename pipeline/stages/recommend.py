"""Write the top-K lists of one method, for validation and for test.

With recommend.refit, the lists for test are those of the refit. The lists for validation are always
those of the first fit, which has not seen the validation pairs.
Where test pairs have new items, lists among these alone are written too.
"""

import time
from collections.abc import Callable

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.data.made_from import note_data, refuse_other_data
from glta.data.prepared import Prepared
from glta.evaluation.groups import new_item_pairs, new_items
from glta.evaluation.lists import Lists, list_table
from glta.evaluation.ranking import rank_among
from glta.evaluation.settings import uses_seen_items
from glta.methods.base import Recommender, Scorer
from glta.methods.chain import refit_of
from glta.methods.registry import models, recommender_class
from glta.methods.shared.without_history import recommend_to_all
from glta.params.model import Params
from glta.progress import record
from glta.storage.cell import Cell
from glta.storage.files import read_json, whole_folder
from glta.storage.shard import WHOLE, Shard
from pipeline.stages.script import run

BLOCK = 2048
"""Number of users for whom a recommender is asked at once. Blocks are the same for any number of
shards, so that scores are equal to the last bit: these may depend on who else is in a block."""


def main(params: Params, dataset: str, seed: int, method: str, part: int = 0, of: int = 1) -> None:
    """Write data/DATASET/SEED/recommend/METHOD, or the shard `part` of `of`, if there are several.

    Raises ValueError for an unknown method, and for a model of other prepared data.
    """
    if method not in models():
        raise ValueError(f"--method {method}: unknown method; there are {', '.join(models())}")
    cell = Cell(dataset, seed)
    shard = Shard(part, of)
    prepared = Prepared.load(cell.prepare)
    folder = cell.model(method)
    kind = recommender_class(method)
    model = kind.load(folder)
    refuse_other_data(folder, prepared, stage=f"{method}@{dataset}-{seed}")
    refitted = kind.load(refit_of(folder)) if params.recommend.refit else None
    started = time.monotonic()
    seen = uses_seen_items(params.recommend, read_json(cell.prepare / "counts.json")["split"])
    lists = make_lists(
        model,
        prepared,
        k=params.recommend.k,
        seen_at_test=seen,
        refitted=refitted,
        shard=shard,
    )
    seconds = time.monotonic() - started
    count = sum(table["user"].n_unique() for table in (lists.valid, lists.test))
    if count:
        # the report shows it; the stage's own time is mostly its start
        record(0, seconds_per_1000_lists=1000 * seconds / count, lists=count)
    place = cell.lists(method) if of == 1 else cell.shard("recommend", shard, method)
    with whole_folder(place) as out:
        lists.save(out)
        note_data(out, prepared.digest)


def make_lists(
    model: Recommender,
    prepared: Prepared,
    *,
    k: int,
    seen_at_test: bool,
    refitted: Recommender | None = None,
    shard: Shard = WHOLE,
) -> Lists:
    """Make lists of k items. Known items are excluded: training, and for test validation too.

    Users without a training item get the most popular items.
    seen_at_test: whether the histories of test lists have the validation items.
    refitted: the model of the lists for test, fitted on training and validation pairs; None: model.
    shard: whose users get lists.
    """

    def of(
        maker: Recommender, fitted: Interactions, wanted: Interactions, known: Interactions
    ) -> pl.DataFrame:
        return by_blocks(
            wanted,
            shard,
            k,
            lambda users: recommend_to_all(maker, users, k, fitted=fitted, exclude=known),
        )

    valid = of(model, prepared.train, prepared.valid, prepared.train)
    tested = refitted or model
    if seen_at_test:
        tested = tested.with_histories(prepared.seen_sequences)
    fitted = prepared.seen if refitted else prepared.train
    test = of(tested, fitted, prepared.test, prepared.seen)
    relevant = new_item_pairs(prepared.test, fitted=fitted)
    if not relevant.item.size or not isinstance(tested, Scorer):
        return Lists(valid, test)
    new = np.flatnonzero(new_items(fitted))
    return Lists(
        valid,
        test,
        by_blocks(
            relevant,
            shard,
            k,
            lambda users: rank_among(tested.score, users, k=k, exclude=prepared.seen, items=new),
        ),
    )


def by_blocks(
    wanted: Interactions,
    shard: Shard,
    k: int,
    recommend: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> pl.DataFrame:
    """Make lists of k items, block by block, for the users of a shard who have pairs in `wanted`.

    recommend: maps users (B,) to items and scores, each (B, k).
    """
    users = np.flatnonzero(wanted.user_degree)
    blocks = list(shard.pick(users[i : i + BLOCK] for i in range(0, users.size, BLOCK)))
    found = [recommend(block) for block in blocks]
    return list_table(
        np.concatenate([np.empty(0, users.dtype), *blocks]),
        np.concatenate([np.empty((0, k), np.int64), *(items for items, _ in found)]),
        np.concatenate([np.empty((0, k), np.float32), *(scores for _, scores in found)]),
    )


if __name__ == "__main__":
    run(main)
