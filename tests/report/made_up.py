"""Write a made-up dataset as the stages write it, for tests and for looking at the report."""

from __future__ import annotations

import hashlib
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
from ruamel.yaml import YAML

from glta.data.interactions import Interactions
from glta.data.made_from import note_data
from glta.data.prepared import Prepared
from glta.data.statistics import statistics
from glta.params.model import Params
from glta.params.plan import content_of
from glta.storage.files import write_json

DVC_YAML = Path(__file__).parents[2] / "dvc.yaml"

SKILL = {
    "popularity": (0.0, 1.0),
    "text-knn": (0.5, 0.0),
    "item-knn": (0.85, 0.6),
    "ease": (0.9, 0.4),
    "cease": (1.15, 0.5),
    "lightgcn": (0.9, 0.4),
    "lightgcn-text-knn": (1.15, 0.3),
    "glta": (1.3, 0.2),
}
"""By method: the weight of users' true tastes in its scores, and the weight of popularity."""


Pairs = dict[str, list[tuple[int, int]]]
"""User and item of each pair, by part: train, valid, test."""


def write_world(
    data: Path,
    dataset: str,
    *,
    seed: int,
    methods: dict[str, tuple[float, float]],
    num_users: int,
    num_items: int,
    num_new: int = 0,
) -> None:
    """Write what the stages download, prepare, train and recommend leave of one split.

    data: the folder data/. The dataset counts as synthetic when its name contains "sample".
    methods: as in SKILL. num_new: number of new items. They are the first items, and all their
    pairs are for test.
    """
    # the same users for every seed; only the split differs
    rng = np.random.default_rng([num_users, num_items])
    taste = rng.normal(size=(num_users, 6)) @ rng.normal(size=(6, num_items)) / 1.6
    fame = 0.6 * np.sort(rng.exponential(size=num_items))[::-1]
    likes = (taste + fame + rng.gumbel(size=taste.shape)).argsort(1)[:, ::-1]
    histories = [likes[u, :n] for u, n in enumerate(rng.integers(8, 40, num_users))]
    parts = split_histories(histories, np.random.default_rng([seed, num_users]), num_new=num_new)
    cell = data / dataset / str(seed)
    write_prepared(cell / "prepare", parts, num_users=num_users, num_items=num_items)
    write_counts(cell / "prepare", parts, rng, seed=seed)
    write_source(data / dataset / "download", dataset)
    pairs = {
        name: Interactions.of(*np.array(rows).T, num_users, num_items)
        for name, rows in parts.items()
    }
    for place, (method, (skill, lean)) in enumerate(methods.items()):
        noise = np.random.default_rng([seed, place]).normal(size=taste.shape)
        noise_weight = 0.0 if method == "popularity" else 0.8
        scores = skill * taste + (lean + 0.4 * skill) * fame + noise_weight * noise
        write_lists(cell / "recommend" / method, scores, pairs)
        note_data(cell / "recommend" / method, Prepared.load(cell / "prepare").digest)
        write_model(cell, method, np.random.default_rng([seed, place, 1]))


def split_histories(
    histories: list[np.ndarray], rng: np.random.Generator, *, num_new: int
) -> Pairs:
    """Divide each history: 70 % for training, 10 % for validation, the rest for test."""
    parts: Pairs = {"train": [], "valid": [], "test": []}
    for user, items in enumerate(histories):
        limits = [-(-len(items) * 7 // 10), -(-len(items) * 8 // 10)]
        chosen_by_part = np.split(rng.permutation(items), limits)
        for name, chosen in zip(parts, chosen_by_part, strict=True):
            for item in sorted(chosen):
                part = "test" if item < num_new else name
                parts[part].append((user, int(item)))
    return parts


def write_prepared(folder: Path, parts: Pairs, *, num_users: int, num_items: int) -> None:
    """Write the tables of the stage prepare."""
    folder.mkdir(parents=True)
    for name, rows in parts.items():
        frame = pl.DataFrame(rows, schema={"user": pl.Int32, "item": pl.Int32}, orient="row")
        if name == "train":
            frame = frame.with_columns(target=pl.int_range(pl.len()) % 5 == 0)
        frame.write_parquet(folder / f"{name}.parquet")
    users = {"user": range(num_users), "user_id": [f"u{u}" for u in range(num_users)]}
    pl.DataFrame(users).write_parquet(folder / "users.parquet")
    items = {
        "item": range(num_items),
        "item_id": [f"i{i}" for i in range(num_items)],
        "title": [f"Book {i}" for i in range(num_items)],
        "description": ["" if i % 7 == 0 else "words " * (1 + i % 5) for i in range(num_items)],
        "categories": [["fiction"] if i % 3 else [] for i in range(num_items)],
    }
    pl.DataFrame(items).write_parquet(folder / "items.parquet")


def write_counts(folder: Path, parts: Pairs, rng: np.random.Generator, *, seed: int) -> None:
    """Write counts.json of the stage prepare, after its tables. Times and ratings are random."""
    tables = [pl.read_parquet(folder / f"{name}.parquet") for name in parts]
    items = pl.read_parquet(folder / "items.parquet")
    num_users = pl.read_parquet(folder / "users.parquet").height
    num_items = items.height
    total = sum(map(len, parts.values()))
    columns = ("step", "users", "items", "interactions", "dropped", "why")
    steps = [
        ("read", num_users + 31, num_items + 12, total + 419, 5, "rows that cannot be read"),
        ("duplicates", num_users + 31, num_items + 12, total + 412, 7, "the last rating stays"),
        ("core", num_users, num_items, total, 412, "users and items with fewer than 5"),
    ]
    source = {
        "interaction_rows": total + 424,
        "bad_interaction_rows": 5,
        "item_rows": num_items + 18,
        "bad_item_rows": 1,
        "repeated_item_rows": 2,
        "items_without_text": 3,
        "items_without_interactions": 4,
    }
    pairs = pl.concat([table.select("user", "item") for table in tables]).sort("user", "item")
    timestamp = pl.Series(rng.integers(828124615, 1537799250, total))
    rating = pl.Series(rng.integers(1, 11, total) / 2)
    rated = pairs.with_columns(rating=rating, timestamp=timestamp)
    tables = [table.join(rated, on=["user", "item"], maintain_order="left") for table in tables]
    counts = {
        "seed": seed,
        "split": "random",
        "steps": [dict(zip(columns, step, strict=True)) for step in steps],
        "passes": 2,
        "source": source,
        **statistics(rated, *tables, items),
    }
    write_json(folder / "counts.json", counts)


def write_source(folder: Path, dataset: str) -> None:
    """Write source.json of the stage download."""
    synthetic = "sample" in dataset
    real_licence = "research use; see the README within the archive"
    file = {
        "sha256": "ab" * 32,
        "bytes": 978202,
        "address": "https://files.grouplens.org/x.zip",
    }
    source = {
        "dataset": dataset,
        "synthetic": synthetic,
        "licence": "CC0 1.0: made by this program" if synthetic else real_licence,
        "citation": "A. Author. 2015. <The> Data & their history. https://doi.org/10.1145/2827872",
        "homepage": "" if synthetic else "https://grouplens.org/datasets/movielens/",
        "files": {"ratings.csv": file},
    }
    write_json(folder / "source.json", source)


def write_lists(
    folder: Path, scores: np.ndarray, pairs: dict[str, Interactions], k: int = 20
) -> None:
    """Rank all items by sorting, with the masks of the stage recommend."""
    folder.mkdir(parents=True)
    scores = scores.copy()
    new = np.flatnonzero(pairs["train"].item_degree == 0)
    if np.isin(pairs["test"].item, new).any():
        users = np.unique(pairs["test"].user[np.isin(pairs["test"].item, new)])
        best = new[np.argsort(-scores[np.ix_(users, new)], kind="stable")[:, :k]]
        columns = {
            "user": np.repeat(users, best.shape[1]),
            "rank": np.tile(np.arange(1, best.shape[1] + 1), users.size),
        }
        pl.DataFrame(columns | {"item": best.ravel()}).write_parquet(folder / "new.parquet")
    for known, wanted in (("train", "valid"), ("valid", "test")):
        scores[pairs[known].user, pairs[known].item] = -np.inf
        users = np.flatnonzero(pairs[wanted].user_degree)
        items = np.argsort(-scores[users], kind="stable")[:, :k]
        columns = {
            "user": np.repeat(users, k).astype(np.int32),
            "rank": np.tile(np.arange(1, k + 1), users.size).astype(np.int16),
            "item": items.ravel().astype(np.int32),
            "score": np.take_along_axis(scores[users], items, 1).ravel().astype(np.float32),
        }
        pl.DataFrame(columns).filter(pl.col("score").is_finite()).write_parquet(
            folder / f"{wanted}.parquet"
        )


def write_model(cell: Path, method: str, rng: np.random.Generator) -> None:
    """Write model.json, and for some methods the history of training.

    A history is a list of epochs, or a list for each training stage. It may begin with a record
    before the first epoch, which has no loss.
    """

    def curve(epochs: int, *, start: float, valid: float, first: int = 0) -> list[dict]:
        epoch = np.arange(first, epochs)
        rise = 1 - np.exp(-(epoch + 1.2) / (epochs / 4))
        overfitting = 1 - 0.06 * (epoch / epochs) ** 3
        values = valid * rise * overfitting + rng.normal(0, 0.002, epoch.size)
        losses = start * (0.25 + 0.75 * np.exp(-(epoch + 1) / (epochs / 4)))
        records = []
        for number, value, loss in zip(epoch, values, losses, strict=True):
            record = {"epoch": int(number), "valid": float(value)}
            records.append(record | {"loss": float(loss)} if number >= 0 else record)
        return records

    write_json(
        cell / "models" / method / "model.json",
        {"method": method, "trainable_parameters": 0 if method == "popularity" else 123456},
    )
    if method == "lightgcn":
        history = curve(60, start=0.69, valid=0.11)
        # validated in every second epoch
        for record in history[::2]:
            del record["valid"]
        write_json(cell / "pretrain/all/history.json", history)
    if method == "glta":
        items = curve(6, start=7.2, valid=2.5, first=-1)
        history = {
            # validated by minus the loss
            "align_items": [record | {"valid": record["valid"] - 4} for record in items],
            "align_users": curve(10, start=6.9, valid=0.13, first=-1),
        }
        write_json(cell / "models/glta/history.json", history)


def records(params: Params) -> tuple[dict[str, dict[str, float]], list[dict]]:
    """Return costs and provenance as if every stage of dvc.yaml had run once.

    Each run took 2 s and has an id of its own. All have the same commit.
    """
    costs: dict[str, dict[str, float]] = {}
    provenance: list[dict] = []
    lists = {name: getattr(params, name) for name in ("datasets", "seeds", "methods")}
    lists |= {
        f"{part}.{name}": found
        for part, named in content_of(params).items()
        for name, found in named.items()
    }
    stages = YAML(typ="safe").load(DVC_YAML.read_text(encoding="utf-8"))["stages"]
    for verb, stage in stages.items():
        # ${name} for a list in the parameters, ${plan.stage} for one in the plan; or a list itself
        matrix = {
            key: lists[values[2:-1]] if isinstance(values, str) else params.seeds[:1]
            for key, values in stage.get("matrix", {}).items()
        }
        for values in product(*matrix.values()):
            name = f"{verb}@{'-'.join(map(str, values))}" if values else verb
            item = dict(zip(matrix, values, strict=True))
            raw = {"ratings.csv": {"sha256": fake_hash(name) * 2, "bytes": 978202, "address": ""}}
            language = {"model": "org/mini-model", "sha256": fake_hash("weights") * 2}
            costs[name] = {"seconds": 2.0, "peak_memory_bytes": 2.0**30}
            if verb == "recommend":
                costs[name]["seconds_per_1000_lists"] = 0.25
            provenance.append(
                {
                    "stage": name,
                    "run_id": fake_hash(f"run of {name}"),
                    "commit": "c" * 40,
                    "dirty": False,
                    "outs": fake_hashes([*stage["outs"], *stage.get("metrics", [])], item),
                    "deps": fake_hashes(stage["deps"], item),
                    "archives": raw if verb == "download" else {},
                    "language_model": language if verb in ("profile", "align_users") else None,
                }
            )
    return costs, provenance


def fake_hashes(entries: list, item: dict) -> dict[str, str]:
    """Fill in the paths of a list in dvc.yaml for one entry of the matrix, each with a hash."""
    paths = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]
    for key, value in item.items():
        paths = [path.replace(f"${{item.{key}}}", str(value)) for path in paths]
    return {path: fake_hash(path) for path in paths}


def fake_hash(text: str) -> str:
    """Return 32 hexadecimal digits that stand for the hash of a file."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
