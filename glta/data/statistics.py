"""Describe a prepared dataset: what the report shows about it."""

# U users, I items
from __future__ import annotations

import numpy as np
import polars as pl

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
MOST_RATINGS, RATING_BINS = 20, 10  # different values that are counted one by one; else bins


def statistics(
    pairs: pl.DataFrame,
    train: pl.DataFrame,
    valid: pl.DataFrame,
    test: pl.DataFrame,
    items: pl.DataFrame,
) -> dict:
    """Return plain numbers for counts.json.

    pairs: user, item, rating, timestamp of all parts. cold: users and items that no training pair
    has, and the valid and test pairs that concern them; they keep their dense ids. degree: of the
    training pairs. text: per column, the share of items that have it, how many different ones there
    are, and their numbers of words. titles_that_are_ids: items for which the source has no title.
    rating: also how often each was given. leakage: see `leakage`.
    """
    num_users, num_items = pairs["user"].n_unique(), items.height
    seen = train.select(pl.col("user").unique().implode(), pl.col("item").unique().implode())
    users, known = seen["user"][0], seen["item"][0]

    def cold_pairs(part: pl.DataFrame) -> int:
        return part.filter(
            ~pl.col("user").is_in(users.implode()) | ~pl.col("item").is_in(known.implode())
        ).height

    return {
        "users": num_users,
        "items": num_items,
        "interactions": pairs.height,
        "density": pairs.height / (num_users * num_items),
        "train": train.height,
        "valid": valid.height,
        "test": test.height,
        "target": int(train["target"].sum()),
        "cold": {
            "users": num_users - len(users),
            "items": num_items - len(known),
            "valid": cold_pairs(valid),
            "test": cold_pairs(test),
        },
        "degree": {
            "user": degrees(np.bincount(train["user"].to_numpy(), minlength=num_users)),
            "item": degrees(np.bincount(train["item"].to_numpy(), minlength=num_items)),
        },
        "text": {name: _text(items[name]) for name in ("title", "description", "categories")},
        "titles_that_are_ids": int((items["title"] == items["item_id"]).sum()),
        "rating": _range(pairs["rating"]) | ratings(pairs["rating"]),
        "timestamp": _range(pairs["timestamp"]),
        "leakage": leakage(pairs, train, valid, test),
    }


def leakage(
    pairs: pl.DataFrame, train: pl.DataFrame, valid: pl.DataFrame, test: pl.DataFrame
) -> dict:
    """Tell what the held-out pairs share with the training part.

    pairs_in_two_parts: must be 0. older_than_training: share of the valid and test pairs that are
    older than the newest training pair of all users, so that the future helps to predict the past
    (0 for a split by global time, near 1 for a random one); older_than_own_training: than the same
    user's newest; both None where times are missing.
    """
    parts = {"train": train, "valid": valid, "test": test}
    everything = pl.concat([part.select("user", "item") for part in parts.values()])
    found: dict = {"pairs_in_two_parts": everything.height - everything.n_unique()}
    times = pairs.select("user", "item", "timestamp")
    trained = train.select("user", "item").join(times, on=["user", "item"])
    own = trained.group_by("user").agg(pl.col("timestamp").max().alias("own"))
    for name in ("valid", "test"):
        held = (
            parts[name]
            .select("user", "item")
            .join(times, on=["user", "item"])
            .join(own, on="user", how="left")
        )
        shares: list[float | None] = [None, None]
        if held.height and trained.height and not pairs["timestamp"].null_count():
            older = [
                held["timestamp"] < trained["timestamp"].max(),
                (held["timestamp"] < held["own"]).fill_null(False),
            ]
            shares = [float(old.to_numpy().mean()) for old in older]
        found[name] = dict(
            zip(("older_than_training", "older_than_own_training"), shares, strict=True)
        )
    return found


def degrees(degree: np.ndarray) -> dict:
    """Describe degrees: mean, quantiles, and a histogram whose bins double (0, 1, 2-3, 4-7,
    ...).
    """
    bins = np.floor(np.log2(np.maximum(degree, 1))).astype(np.int64) + (degree > 0)
    counts = np.bincount(bins)
    histogram = [
        {"from": 2**b // 2, "to": max(2**b - 1, 0), "count": int(c)} for b, c in enumerate(counts)
    ]
    return {"mean": float(degree.mean()), "quantiles": quantiles(degree), "histogram": histogram}


def quantiles(numbers: np.ndarray) -> dict[str, int]:
    """Return numbers that occur, by quantile: {"0.5": the median, ...}."""
    values = np.quantile(numbers, QUANTILES, method="inverted_cdf")
    return {f"{q:g}": int(v) for q, v in zip(QUANTILES, values, strict=True)}


def _text(column: pl.Series) -> dict:
    text = column.list.join(" ") if isinstance(column.dtype, pl.List) else column
    words = text.str.count_matches(r"\S+").to_numpy()
    given = text.filter(words > 0)
    return {
        "share": float((words > 0).mean()),
        "distinct": given.n_unique(),
        "mean_words": float(words.mean()),
        "words": quantiles(words),
    }


def ratings(column: pl.Series) -> dict:
    """Make a histogram: of each value if there are few, else of bins of equal width (from <= x <
    to; the last has its end).
    """
    given = column.drop_nulls()
    if given.is_empty():
        return {}
    values, count = np.unique(given.to_numpy(), return_counts=True)
    low, high = values, values
    if len(values) > MOST_RATINGS:
        count, edges = np.histogram(given.to_numpy(), bins=RATING_BINS)
        low, high = edges[:-1], edges[1:]
    bins = zip(low, high, count, strict=True)
    return {"histogram": [{"from": float(a), "to": float(b), "count": int(n)} for a, b, n in bins]}


def _range(column: pl.Series) -> dict:
    """Describe a column that may be empty; the mean is left out of times, where it says nothing."""
    values = column.drop_nulls()
    if values.is_empty():
        return {"share": 0.0}
    mean = {"mean": float(values.mean())} if values.dtype.is_float() else {}
    return {"share": len(values) / len(column), "min": values.min(), "max": values.max(), **mean}
