"""Write the top-K lists of one method, for validation and for test.

When test pairs contain new items, lists of new items alone are written too.
"""

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.groups import restrict
from glta.evaluation.ranking import rank_among
from glta.methods.base import Scorer
from glta.methods.registry import models, recommender_class
from glta.params.model import Params
from glta.storage.cell import Cell
from glta.storage.files import whole_folder
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int, method: str) -> None:
    """Write data/DATASET/SEED/recommend/METHOD. Raises ValueError for an unknown method."""
    if method not in models():
        raise ValueError(f"--method {method}: unknown method; there are {', '.join(models())}")
    cell = Cell(dataset, seed)
    k = params.recommend.k
    prepared = Prepared.load(cell.prepare)
    model = recommender_class(method).load(cell.model(method))
    parts = {"valid": (prepared.valid, prepared.train), "test": (prepared.test, prepared.seen)}
    with whole_folder(cell.lists(method)) as out:
        for name, (wanted, masked) in parts.items():
            users = np.flatnonzero(wanted.user_degree)
            items, scores = model.recommend(users, k, masked)
            list_table(users, items, scores).write_parquet(out / f"{name}.parquet")
        relevant = restrict(prepared.test, prepared.new_items)
        if relevant.item.size and isinstance(model, Scorer):
            lists_among_new(model, prepared, relevant, k).write_parquet(out / "new.parquet")


def lists_among_new(
    model: Scorer, prepared: Prepared, relevant: Interactions, k: int
) -> pl.DataFrame:
    """Make lists of the items without training users.

    relevant: the test pairs with such items.
    """
    users = np.flatnonzero(relevant.user_degree)
    new = np.flatnonzero(prepared.new_items)
    items, scores = rank_among(model.score, users, k=k, exclude=prepared.seen, items=new)
    return list_table(users, items, scores)


def list_table(users: np.ndarray, items: np.ndarray, scores: np.ndarray) -> pl.DataFrame:
    """Turn lists (users.size, K) into rows user, rank (1 is best), item, score.

    Places without an item (-1) are left out.
    """
    columns = {
        "user": pl.Series(np.repeat(users, items.shape[1]), dtype=pl.Int32),
        "rank": pl.Series(np.tile(np.arange(1, items.shape[1] + 1), users.size), dtype=pl.Int16),
        "item": pl.Series(items.ravel(), dtype=pl.Int32),
        "score": pl.Series(scores.ravel(), dtype=pl.Float32),
    }
    return pl.DataFrame(columns).filter(pl.col("item") >= 0)


if __name__ == "__main__":
    run(main)
