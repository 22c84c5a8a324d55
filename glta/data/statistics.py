"""Describe a prepared dataset: what the report shows about it."""

# U users, I items
from __future__ import annotations

import numpy as np
import polars as pl

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)


def statistics(pairs: pl.DataFrame, train: pl.DataFrame, valid: pl.DataFrame, test: pl.DataFrame, items: pl.DataFrame) -> dict:
    """Return plain numbers for counts.json.

    pairs: user, item, rating, timestamp of all parts. cold: users and items that no training pair has, and the valid and
    test pairs that concern them; they keep their dense ids. degree: of the training pairs. text: per column, the share of
    items that have it and its mean number of words.
    """
    num_users, num_items = pairs["user"].n_unique(), items.height
    seen = train.select(pl.col("user").unique().implode(), pl.col("item").unique().implode())
    users, known = seen["user"][0], seen["item"][0]

    def cold_pairs(part: pl.DataFrame) -> int:
        return part.filter(~pl.col("user").is_in(users.implode()) | ~pl.col("item").is_in(known.implode())).height

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
        "rating": _range(pairs["rating"]),
        "timestamp": _range(pairs["timestamp"]),
    }


def degrees(degree: np.ndarray) -> dict:
    """Describe degrees: mean, quantiles, and a histogram whose bins double (0, 1, 2-3, 4-7, ...)."""
    bins = np.floor(np.log2(np.maximum(degree, 1))).astype(np.int64) + (degree > 0)
    counts = np.bincount(bins)
    histogram = [{"from": 2**b // 2, "to": max(2**b - 1, 0), "count": int(c)} for b, c in enumerate(counts)]
    values = np.quantile(degree, QUANTILES, method="inverted_cdf")
    quantiles = {f"{q:g}": int(v) for q, v in zip(QUANTILES, values, strict=True)}
    return {"mean": float(degree.mean()), "quantiles": quantiles, "histogram": histogram}


def _text(column: pl.Series) -> dict:
    text = column.list.join(" ") if isinstance(column.dtype, pl.List) else column
    words = text.str.count_matches(r"\S+")
    return {"share": float((words > 0).mean()), "mean_words": float(words.mean())}


def _range(column: pl.Series) -> dict:
    """Describe a column that may be empty; the mean is left out of times, where it says nothing."""
    values = column.drop_nulls()
    if values.is_empty():
        return {"share": 0.0}
    mean = {"mean": float(values.mean())} if values.dtype.is_float() else {}
    return {"share": len(values) / len(column), "min": values.min(), "max": values.max(), **mean}
