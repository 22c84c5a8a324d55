"""Describe a prepared dataset in numbers, for counts.json and the report."""

# U users, I items
from __future__ import annotations

import numpy as np
import polars as pl

from glta.data.words import count_words

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)

MOST_RATINGS = 20
"""With more different ratings than this, the histogram has bins."""

RATING_BINS = 10


def statistics(
    pairs: pl.DataFrame,
    train: pl.DataFrame,
    valid: pl.DataFrame,
    test: pl.DataFrame,
    items: pl.DataFrame,
) -> dict:
    """Return plain numbers for counts.json.

    pairs: columns user, item, rating, timestamp, of all parts. Some keys of the result:
    cold: numbers of users and of items without training pairs, and of the validation and test
        pairs that have one of them.
    degree: of users and items, over the training pairs.
    text: for each column, the share of items that have it, the number of different texts, and their
        lengths in words.
    titles_that_are_ids: number of items for which the source has no title.
    rating: range, mean and histogram.
    leakage: see `leakage`. protocol: see `protocol`.
    """
    num_users = pairs["user"].n_unique()
    num_items = items.height
    seen = train.select(pl.col("user").unique().implode(), pl.col("item").unique().implode())
    users = seen["user"][0]
    known = seen["item"][0]

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
        "leakage": leakage(train, valid, test),
        "protocol": protocol(train, valid, test, num_users=num_users, num_items=num_items),
    }


def leakage(train: pl.DataFrame, valid: pl.DataFrame, test: pl.DataFrame) -> dict:
    """Measure how far training pairs reveal held-out pairs.

    train, valid, test: columns user, item, timestamp.
    pairs_in_two_parts: number of pairs that are in two parts of the split; must be 0.
    older_than_training: share of the validation or test pairs that are older than the newest
        training pair of all users. For these the future helps to predict the past. It is 0 for a
        split by global time, and near 1 for a random split.
    older_than_own_training: the same with the newest training pair of the same user.
    The two shares are None where times are missing.
    """
    parts = {"train": train, "valid": valid, "test": test}
    everything = pl.concat([part.select("user", "item") for part in parts.values()])
    found: dict = {"pairs_in_two_parts": everything.height - everything.n_unique()}
    timed = not any(part["timestamp"].null_count() for part in parts.values())
    own = train.group_by("user").agg(pl.col("timestamp").max().alias("own"))
    for name in ("valid", "test"):
        held = parts[name].select("user", "timestamp").join(own, on="user", how="left")
        shares: list[float | None] = [None, None]
        if held.height and train.height and timed:
            older = [
                held["timestamp"] < train["timestamp"].max(),
                (held["timestamp"] < held["own"]).fill_null(False),
            ]
            shares = [float(old.to_numpy().mean()) for old in older]
        found[name] = dict(
            zip(("older_than_training", "older_than_own_training"), shares, strict=True)
        )
    return found


def protocol(
    train: pl.DataFrame,
    valid: pl.DataFrame,
    test: pl.DataFrame,
    *,
    num_users: int,
    num_items: int,
) -> dict:
    """Say what a split leaves out, and how much of the future it shows to methods.

    train, valid, test: columns user, item, timestamp.
    train_later_than_test: share of the training pairs that are later than the earliest test pair of
        another user. A method learns from them what was not known yet at the time of that test
        pair. It is 0 for a split by global time. valid_later_than_test: the same for validation
        pairs. Both are None where times are missing.
    users_without_history: number of users without a training pair. tested_without_history: those of
        them with a test pair. Lists for them are those of popularity.
    items_without_users: number of items without a training pair.
    users_without_valid, users_without_test: number of users without such a pair. They have no part
        in the choice of models, or in the test.
    """
    trained, validated, tested = (part["user"].unique() for part in (train, valid, test))
    timed = not any(part["timestamp"].null_count() for part in (train, valid, test))
    return {
        "train_later_than_test": _later_share(train, test) if timed else None,
        "valid_later_than_test": _later_share(valid, test) if timed else None,
        "users_without_history": num_users - len(trained),
        "tested_without_history": int((~tested.is_in(trained.implode())).sum()),
        "items_without_users": num_items - train["item"].n_unique(),
        "users_without_valid": num_users - len(validated),
        "users_without_test": num_users - len(tested),
    }


def _later_share(part: pl.DataFrame, test: pl.DataFrame) -> float:
    """Compute the share of pairs that are later than the earliest test pair of another user."""
    earliest = test.group_by("user").agg(pl.col("timestamp").min()).sort("timestamp", "user")
    # the second matters to the user of the first alone; without a second, nothing is later
    first, second = [*earliest.head(2).rows(), (-1, None), (-1, None)][:2]
    limit = pl.when(pl.col("user") == first[0]).then(second[1]).otherwise(first[1])
    later = part.select((pl.col("timestamp") > limit).fill_null(False)).to_series()
    return float(later.to_numpy().mean()) if later.len() else 0.0


def degrees(degree: np.ndarray) -> dict:
    """Describe degrees by mean, quantiles and a histogram of bins 0, 1, 2-3, 4-7, 8-15, ..."""
    bins = np.floor(np.log2(np.maximum(degree, 1))).astype(np.int64) + (degree > 0)
    counts = np.bincount(bins)
    histogram = [
        {"from": 2**b // 2, "to": max(2**b - 1, 0), "count": int(c)} for b, c in enumerate(counts)
    ]
    return {"mean": float(degree.mean()), "quantiles": quantiles(degree), "histogram": histogram}


def quantiles(numbers: np.ndarray) -> dict[str, int]:
    """Return quantiles by name, {"0.5": the median, ...}. Each is one of the numbers."""
    values = np.quantile(numbers, QUANTILES, method="inverted_cdf")
    return {f"{q:g}": int(v) for q, v in zip(QUANTILES, values, strict=True)}


def _text(column: pl.Series) -> dict:
    """Describe a column of texts, or of lists of texts."""
    text = column.list.join(" ") if isinstance(column.dtype, pl.List) else column
    words = count_words(text).to_numpy()
    given = text.filter(words > 0)
    return {
        "share": float((words > 0).mean()),
        "distinct": given.n_unique(),
        "mean_words": float(words.mean()),
        "words": quantiles(words),
    }


def ratings(column: pl.Series) -> dict:
    """Make a histogram of a column, {} without values.

    With few different values, it counts each of them. Otherwise it has bins of equal width,
    from <= x < to; the last bin includes its end.
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
    """Describe a column by the share of rows with a value, and their range and mean.

    The mean is for ratings (floats) only: a mean of times has no use.
    """
    values = column.drop_nulls()
    if values.is_empty():
        return {"share": 0.0}
    found: dict = {"share": len(values) / len(column), "min": values.min(), "max": values.max()}
    return found | {"mean": values.mean()} if values.dtype.is_float() else found
