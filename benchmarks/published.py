"""Run methods on public splits, and print our results beside those that others have published.

python -m benchmarks.published MIRROR               what takes minutes, all in under half an hour
python -m benchmarks.published MIRROR --trained     SASRec and the trained graphs too, for hours
python -m benchmarks.published MIRROR --only NAME   rows of one dataset, of one method, or of
                                                    both: DATASET/METHOD

MIRROR: the folder that holds the datasets, as in `benchmarks.public_data`. The results are kept in
benchmarks/out/published.json, and a row that is there with the same settings is not run again;
--fresh runs it again. A note marks a result of other code than today's.

Settings are those that the source publishes, or were chosen on validation, as each row says. The
test pairs are read once a row, after the training. The id lists have no validation part. There
a tenth of the training pairs is for validation, and every method is fitted on all of them in the
end, with what was chosen on validation, or for the source's number of epochs. In leave-last-out,
training is on all but the last two items of a user, and lists are made from all but the last one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.public_data import (
    BEAUTY,
    CDS,
    ELECTRONICS,
    GOWALLA,
    ID_LISTS,
    TOYS,
    read_public,
)
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.metrics import accuracy, hits
from glta.features.profiles import Profiles
from glta.features.text.item_texts import item_texts
from glta.methods.base import Recommender
from glta.methods.chain import chain_of, run_twice, run_unit
from glta.params.model import Params
from glta.storage.cell import Cell
from glta.storage.files import read_json, sha256_of_all, write_json
from glta.training.choices import ChoiceRecord, choices
from glta.tuning.objective import programs_of
from pipeline.engine.imports import modules_of

OUT = Path("benchmarks/out/published.json")

BARS = "reczoo/BARS"
RECBOARD = "MTandHJ/RecBoard, mean of five seeds"
BY_HAND = "measured by other code"
ULTRAGCN = "UltraGCN and SimpleX papers, reczoo/RecZoo"


class Row(NamedTuple):
    """Describe one published result and how to repeat it.

    data: a name of `public_data.COUNTS`. method: ours. settings: those that differ from the
    defaults. published: metric values; recall@K is the hit rate where each user has one test pair.
    source: where they are published. as_: the name of the method there, where it is not ours.
    chosen: where the settings come from: the source, our defaults, or a validation part.
    epochs: the source's number, for a training without validation on all training pairs; 0: chosen
        on validation. An epoch has `evaluate_every` steps here.
    trained: whether the row takes hours. quick: whether it takes seconds, and is a test.
    reason: why ours is more than 3 % below, where that was found.
    """

    data: str
    method: str
    settings: dict[str, Any]
    published: dict[str, float]
    source: str
    as_: str = ""
    chosen: str = "source or defaults"
    epochs: int = 0
    trained: bool = False
    quick: bool = False
    reason: str = ""

    @property
    def names(self) -> set[str]:
        """What `--only` may call it."""
        return {self.data, self.method, f"{self.data}/{self.method}"}

    @property
    def key(self) -> str:
        """The row's name in the file of results."""
        budget = [self.epochs] if self.epochs else []
        return json.dumps([self.data, self.method, self.settings, *budget], sort_keys=True)


def at20(recall: float, ndcg: float) -> dict[str, float]:
    return {"recall@20": recall, "ndcg@20": ndcg}


def at10(hit_rate: float, ndcg: float) -> dict[str, float]:
    return {"recall@10": hit_rate, "ndcg@10": ndcg}


LARGE_BATCHES = {
    "sampling": "user",
    "batch_size": 16_384,
    "learning_rate": 1.6e-2,
    "schedule": "cosine",
    "l2": 1e-4,
    "steps": 24_000,
    "evaluate_every": 2_000,
}
"""Settings of LightGCN's reference code, but for large batches: 480 passes, not 1,000."""

SOFTMAX = {
    "loss": "softmax",
    "batch_size": 1024,
    "learning_rate": 0.01,
    "l2": 0.1,
    "steps": 900,
    "evaluate_every": 150,
}
"""Settings of LightGCN, the best of four that were tried on validation of Beauty."""

LARGE_CATALOGUE = SOFTMAX | {
    "learning_rate": 0.03,
    "schedule": "cosine",
    "l2": 0.01,
    "steps": 1200,
    "evaluate_every": 200,
}
"""Settings of LightGCN, the best of three that were tried on validation of amazon-cds-m1."""

SASREC = {"learning_rate": 0.002, "evaluate_every": 200}
"""Settings of SASRec, with cross-entropy over all items."""

ROWS = (
    Row(
        GOWALLA,
        "item-knn",
        {"shrinkage": 1.0, "user_power": 1.0},
        at20(0.1570, 0.1214),
        BARS,
        chosen="validation",
    ),
    Row(GOWALLA, "ease", {"l2": 80.0, "neighbours": 200}, at20(0.1765, 0.1467), BARS),
    Row(GOWALLA, "gf-cf", {"rank": 256, "alpha": 0.3}, at20(0.1849, 0.1518), BARS),
    Row(CDS, "item-knn", {}, at20(0.1258, 0.0792), ULTRAGCN, as_="NGCF"),
    Row(
        CDS,
        "ease",
        {"l2": 200.0, "neighbours": 100},
        at20(0.1622, 0.1043),
        ULTRAGCN,
        as_="UltraGCN",
    ),
    Row(ELECTRONICS, "ease", {"l2": 200.0}, {"ndcg@20": 0.0823}, ULTRAGCN, as_="ENMF", quick=True),
    Row(
        ELECTRONICS,
        "gf-cf",
        {"rank": 16, "alpha": 0.3},
        {"ndcg@20": 0.0829},
        ULTRAGCN,
        as_="UltraGCN",
        chosen="validation",
        quick=True,
    ),
    Row(
        ELECTRONICS,
        "slim",
        {"l1": 1.0, "l2": 30.0},
        {"ndcg@20": 0.0842},
        ULTRAGCN,
        as_="SimpleX",
        chosen="validation",
        quick=True,
    ),
    Row(
        BEAUTY,
        "popularity",
        {},
        at10(0.0120, 0.0056),
        BY_HAND,
        reason="within the 0.002 to which that number is stated",
    ),
    Row(BEAUTY, "item-knn", {}, at10(0.0567, 0.0325), BY_HAND, quick=True),
    Row(BEAUTY, "item-knn", {"recency": 0.7}, at10(0.0649, 0.0395), BY_HAND, quick=True),
    Row(BEAUTY, "transitions", {}, at10(0.0627, 0.0431), BY_HAND, quick=True),
    Row(BEAUTY, "transitions-text", {}, at10(0.0839, 0.0545), BY_HAND, quick=True),
    Row(BEAUTY, "ease", {"l2": 200.0}, at10(0.0670, 0.0356), BY_HAND),
    Row(BEAUTY, "ease", {"l2": 200.0, "recency": 0.7}, at10(0.0762, 0.0438), BY_HAND),
    Row(
        BEAUTY,
        "lightgcn",
        SOFTMAX,
        at10(0.0480, 0.0242),
        RECBOARD,
        chosen="validation",
        trained=True,
    ),
    Row(BEAUTY, "sasrec", SASREC, at10(0.0668, 0.0354), RECBOARD, as_="with BCE", trained=True),
    Row(
        TOYS,
        "lightgcn",
        SOFTMAX,
        at10(0.0469, 0.0247),
        RECBOARD,
        chosen="validation of amazon-beauty",
        trained=True,
    ),
    Row(TOYS, "sasrec", SASREC, at10(0.0766, 0.0432), RECBOARD, as_="with BCE", trained=True),
    Row(
        CDS,
        "lightgcn",
        LARGE_CATALOGUE,
        at20(0.1506, 0.0948),
        ULTRAGCN,
        as_="BGCF",
        chosen="validation",
        trained=True,
    ),
    Row(GOWALLA, "slim", {}, at20(0.1699, 0.1382), BARS, trained=True),
    Row(
        GOWALLA,
        "lightgcn",
        LARGE_BATCHES,
        at20(0.1820, 0.1547),
        BARS,
        chosen="source, but for large batches",
        epochs=12,
        trained=True,
    ),
)


def fitted(row: Row, data: Prepared) -> Recommender:
    """Train the method of a row. The training sees no test pair."""
    params = Params().with_values(
        {f"settings.{row.method}.{key}": value for key, value in row.settings.items()}
    )
    unit = chain_of(row.method)
    known = replace(data, test=Interactions.of([], [], *_size(data)))
    with TemporaryDirectory() as scratch:
        cell = Cell(row.data, 0, Path(scratch))
        if "profile" in unit.reads:
            write_texts(data, cell.step("profile"))
        if row.data not in ID_LISTS:
            model = run_unit(unit, cell, params.section, prepared=known)
        elif row.epochs:
            fixed = ChoiceRecord()
            fixed.epochs = [row.epochs]
            with choices(fixed):
                model = run_unit(unit, cell, params.section, prepared=known.for_refit(), refit=True)
        # patience belongs to methods that choose their number of epochs on validation
        elif "patience" in unit.method.settings.model_fields:
            model = run_twice(unit, cell, params.section, prepared=known)[1]
        else:
            model = run_unit(unit, cell, params.section, prepared=known.for_refit())
    assert isinstance(model, Recommender)
    return model


def write_texts(data: Prepared, folder: Path) -> None:
    """Write what the stage `profile` writes: item texts alone, for rows that compare words."""
    texts = item_texts(data.items, Params().profile)
    words = dict.fromkeys(("tags", "interests", "graph_tags", "graph_interests"), pl.lit(""))
    num_users, num_items = _size(data)
    folder.mkdir(parents=True)
    Profiles(
        texts,
        data.users.select("user").with_columns(**words),
        np.zeros((num_items, 1), np.float32),
        np.zeros((num_users, 1), np.float32),
        about={},
    ).save(folder)


def _size(data: Prepared) -> tuple[int, int]:
    return data.train.num_users, data.train.num_items


def measured(model: Recommender, data: Prepared, metrics: Iterable[str]) -> dict[str, float]:
    """Rank all items for the users with test pairs, without the items they are known to have."""
    users = np.flatnonzero(data.test.user_degree)
    cutoffs = {int(name.partition("@")[2]) for name in metrics}
    if data.parts:
        # as in a split by time: the validation item is known at test time
        model = model.with_histories(data.seen_sequences)
    lists, _ = model.recommend(users, max(cutoffs), data.seen)
    found: dict[str, float] = {}
    for k in cutoffs:
        hit = hits(lists[:, :k], users, relevant=data.test)
        values = accuracy(hit, data.test.user_degree[users], k=k)
        found |= {f"{name}@{k}": float(column.mean()) for name, column in values.items()}
    return {name: found[name] for name in metrics}


@cache
def _data(mirror: Path, name: str) -> Prepared:
    return read_public(mirror, name)


def run_row(row: Row, mirror: Path) -> dict[str, Any]:
    """Train, rank and measure. Returns the values and the seconds."""
    data = _data(mirror, row.data)
    started = time.perf_counter()
    model = fitted(row, data)
    values = measured(model, data, row.published)
    seconds = time.perf_counter() - started
    return {"values": values, "seconds": seconds, "code": code_of(row.method)}


@cache
def code_of(method: str) -> str:
    """Return a digest of the code that a result of a method depends on."""
    measured_by = ("glta/evaluation/metrics.py", "glta/evaluation/ranking.py")
    files = modules_of(*programs_of(method), *measured_by)
    return sha256_of_all(Path(file) for file in files)


def kept() -> dict[str, dict[str, Any]]:
    """Return the results of earlier runs, by the keys of their rows."""
    return read_json(OUT) if OUT.exists() else {}


def note_of(row: Row, found: dict[str, Any] | None) -> str:
    """Return what is to be known of a row besides its numbers."""
    other = found is not None and found.get("code") != code_of(row.method)
    return "; ".join(filter(None, (row.reason, "by other code than today's" if other else "")))


def table(rows: Iterable[Row], results: dict[str, dict[str, Any]]) -> Table:
    """Put our results beside the published ones. A ratio below .97 is red."""
    shown = Table(
        *("data", "row", "settings", "metric", "published", "ours", "ratio", "seconds", "source"),
        *("settings from", "note"),
    )
    for row in rows:
        found = results.get(row.key)
        for place, (metric, theirs) in enumerate(row.published.items()):
            first = place == 0
            ours = found["values"][metric] if found else None
            shown.add_row(
                row.data if first else "",
                f"{row.method}{f' ({row.as_})' if row.as_ else ''}" if first else "",
                ", ".join(f"{k}={v}" for k, v in row.settings.items()) if first else "",
                metric,
                f"{theirs:.4f}",
                f"{ours:.4f}" if ours is not None else "not run",
                f"{ours / theirs:.3f}" if ours is not None else "",
                f"{found['seconds']:.0f}" if found and first else "",
                row.source if first else "",
                row.chosen if first else "",
                note_of(row, found) if first else "",
                style="red" if ours is not None and ours < 0.97 * theirs else None,
            )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mirror", type=Path)
    parser.add_argument("--trained", action="store_true")
    parser.add_argument("--only", action="append", metavar="NAME")
    parser.add_argument("--fresh", action="store_true")
    args = parser.parse_args()
    only = set(args.only or ())
    if unknown := only - {name for row in ROWS for name in row.names}:
        names = dict.fromkeys(name for row in ROWS for name in (row.data, row.method))
        parser.error(f"--only {', '.join(unknown)}: no such dataset or method; {', '.join(names)}")
    wanted = [row for row in ROWS if not only or row.names & only]
    results = kept()
    for row in wanted:
        if (row.trained and not args.trained) or (row.key in results and not args.fresh):
            continue
        print(f"{row.data}: {row.method} {row.settings}", file=sys.stderr, flush=True)
        try:
            results[row.key] = run_row(row, args.mirror)
        except (ValueError, OSError) as error:
            sys.exit(f"error: {error}")
        OUT.parent.mkdir(parents=True, exist_ok=True)
        write_json(OUT, results)
    Console(width=200).print(table(wanted, results))


if __name__ == "__main__":
    main()
