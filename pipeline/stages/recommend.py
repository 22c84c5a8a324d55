"""Write the top-K lists of one method, for validation and for test, and for test among new items
alone.
"""

import numpy as np
import polars as pl

from glta.data.prepared import Prepared
from glta.evaluation.groups import restrict
from glta.evaluation.ranking import rank_among
from glta.methods.registry import method_class
from glta.params.model import Params
from glta.storage.cell import folder
from glta.storage.files import read_json, whole_folder
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int, method: str) -> None:
    """Write data/DATASET/SEED/recommend/METHOD."""
    prepared, source = (
        Prepared.load(folder(dataset, seed, "prepare")),
        folder(dataset, seed, "models", method),
    )
    model = method_class(read_json(source / "model.json")["method"]).load(
        source
    )  # an ablation is a `glta` of another name
    with whole_folder(folder(dataset, seed, "recommend", method)) as out:
        for name, wanted, masked in (
            ("valid", prepared.valid, prepared.train),
            ("test", prepared.test, prepared.seen),
        ):
            users = np.flatnonzero(wanted.user_degree)
            lists = model.recommend(users, params.recommend.k, masked, params.recommend.mode)
            list_table(users, *lists).write_parquet(out / f"{name}.parquet")
        new = prepared.new_items
        if (relevant := restrict(prepared.test, new)).item.size:
            users = np.flatnonzero(relevant.user_degree)
            lists = rank_among(
                model.score,
                users,
                k=params.recommend.k,
                exclude=prepared.seen,
                items=np.flatnonzero(new),
            )
            list_table(users, *lists).write_parquet(out / "new.parquet")


def list_table(users: np.ndarray, items: np.ndarray, scores: np.ndarray) -> pl.DataFrame:
    """Put lists (users.size, K) into rows user, rank (1 is best), item, score; places without an
    item (-1) are left out.
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
