"""Write the top-K lists of one method, for validation and for test.

Where test pairs have new items, lists among these alone are written too.
"""

import time

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.groups import restrict
from glta.evaluation.lists import Lists, list_table
from glta.evaluation.ranking import rank_among
from glta.evaluation.settings import RecommendSettings
from glta.methods.base import Recommender, Scorer
from glta.methods.registry import models, recommender_class
from glta.params.model import Params
from glta.progress import record
from glta.storage.cell import Cell
from glta.storage.files import whole_folder
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int, method: str) -> None:
    """Write data/DATASET/SEED/recommend/METHOD. Raises ValueError for an unknown method."""
    if method not in models():
        raise ValueError(f"--method {method}: unknown method; there are {', '.join(models())}")
    cell = Cell(dataset, seed)
    prepared = Prepared.load(cell.prepare)
    model = recommender_class(method).load(cell.model(method))
    started = time.monotonic()
    lists = make_lists(model, prepared, params.recommend)
    seconds = time.monotonic() - started
    count = sum(table["user"].n_unique() for table in (lists.valid, lists.test))
    # the report shows it; the stage's own time is mostly its start
    record(0, seconds_per_1000_lists=1000 * seconds / max(count, 1))
    with whole_folder(cell.lists(method)) as out:
        lists.save(out)


def make_lists(model: Recommender, prepared: Prepared, settings: RecommendSettings) -> Lists:
    """Make the lists. Known items are excluded: training, and for test validation too.

    Test lists are made with the histories of `settings.test_history`.
    """

    def of(model: Recommender, wanted: Interactions, known: Interactions) -> pl.DataFrame:
        users = np.flatnonzero(wanted.user_degree)
        items, scores = model.recommend(users, settings.k, known)
        return list_table(users, items, scores)

    valid = of(model, prepared.valid, prepared.train)
    if settings.test_history == "seen":
        model = model.with_histories(prepared.seen_sequences)
    test = of(model, prepared.test, prepared.seen)
    relevant = restrict(prepared.test, prepared.new_items)
    if not relevant.item.size or not isinstance(model, Scorer):
        return Lists(valid, test)
    users = np.flatnonzero(relevant.user_degree)
    new = np.flatnonzero(prepared.new_items)
    items, scores = rank_among(model.score, users, k=settings.k, exclude=prepared.seen, items=new)
    return Lists(valid, test, list_table(users, items, scores))


if __name__ == "__main__":
    run(main)
