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
from glta.storage.files import read_json, whole_folder
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int, method: str) -> None:
    """Write data/DATASET/SEED/recommend/METHOD. Raises ValueError for an unknown method."""
    if method not in models():
        raise ValueError(f"--method {method}: unknown method; there are {', '.join(models())}")
    cell = Cell(dataset, seed)
    prepared = Prepared.load(cell.prepare)
    model = recommender_class(method).load(cell.model(method))
    started = time.monotonic()
    seen = uses_seen_items(params.recommend, read_json(cell.prepare / "counts.json")["split"])
    lists = make_lists(model, prepared, k=params.recommend.k, seen_at_test=seen)
    seconds = time.monotonic() - started
    count = sum(table["user"].n_unique() for table in (lists.valid, lists.test))
    # the report shows it; the stage's own time is mostly its start
    record(0, seconds_per_1000_lists=1000 * seconds / max(count, 1))
    with whole_folder(cell.lists(method)) as out:
        lists.save(out)


def uses_seen_items(settings: RecommendSettings, split: str) -> bool:
    """Return whether the histories of test lists have the validation items. split: of the data."""
    if settings.test_history == "by_split":
        return split in ("leave_last_out", "global_time")
    return settings.test_history == "seen"


def make_lists(model: Recommender, prepared: Prepared, *, k: int, seen_at_test: bool) -> Lists:
    """Make lists of k items. Known items are excluded: training, and for test validation too.

    seen_at_test: whether the histories of test lists have the validation items.
    """

    def of(model: Recommender, wanted: Interactions, known: Interactions) -> pl.DataFrame:
        users = np.flatnonzero(wanted.user_degree)
        items, scores = model.recommend(users, k, known)
        return list_table(users, items, scores)

    valid = of(model, prepared.valid, prepared.train)
    if seen_at_test:
        model = model.with_histories(prepared.seen_sequences)
    test = of(model, prepared.test, prepared.seen)
    relevant = restrict(prepared.test, prepared.new_items)
    if not relevant.item.size or not isinstance(model, Scorer):
        return Lists(valid, test)
    users = np.flatnonzero(relevant.user_degree)
    new = np.flatnonzero(prepared.new_items)
    items, scores = rank_among(model.score, users, k=k, exclude=prepared.seen, items=new)
    return Lists(valid, test, list_table(users, items, scores))


if __name__ == "__main__":
    run(main)
