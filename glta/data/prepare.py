"""Clean, filter, number and split a dataset. Every step records how much it dropped, and why."""

# E interactions, U users, I items
from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl

from glta.data import splits
from glta.data.prepared import PreparedTables
from glta.data.settings import PrepareSettings
from glta.data.statistics import statistics
from glta.io.raw import Raw


def prepare(raw: Raw, params: PrepareSettings, seed: int) -> PreparedTables:
    """Turn a raw dataset into dense ids and a split; equal arguments give equal tables.

    The test pairs and the new items do not depend on `seed`, but on params.split_seed. So no test
    pair of one seed is a training or validation pair of another. `seed` chooses the validation
    pairs among the others, and the targets.
    Raises ValueError, naming the parameter to change, when nothing is left or when a part of the
    split would be empty.
    """
    steps: list[dict] = []
    pairs = raw.interactions.with_row_index("order")
    _step(steps, "read", pairs, raw.counts["interaction_rows"], "rows that cannot be read")
    if params.since is not None or params.until is not None:
        why = f"outside of {params.since} .. {params.until}, or without a time"
        pairs = _then(steps, "time", pairs, within(pairs, params.since, params.until), why)
    pairs = _then(
        steps,
        "duplicates",
        pairs,
        deduplicate(pairs, params.duplicates),
        f"the {params.duplicates} rating of a pair stays",
    )
    if params.min_rating is not None:
        pairs = _then(
            steps,
            "min_rating",
            pairs,
            rated(pairs, params.min_rating),
            f"rated below {params.min_rating}, or not rated",
        )
    kept, passes = in_core(pairs, params.user_core, params.item_core)
    why = (
        f"users with fewer than {params.user_core} items, items with fewer than "
        f"{params.item_core} users; passes: {passes}"
    )
    pairs = _then(steps, "core", pairs, kept, why)
    users, items = dense_ids(pairs["user_id"], "user"), dense_ids(pairs["item_id"], "item")
    items = items.join(raw.items, on="item_id", how="left", maintain_order="left")
    pairs = pairs.join(users, on="user_id", maintain_order="left").join(
        items.select("item", "item_id"), on="item_id", maintain_order="left"
    )
    pairs = pairs[in_order(pairs["user"].to_numpy(), pairs["item"].to_numpy())]
    by_time = in_time(pairs)
    pairs = pairs.with_columns(positions(pairs["user"], by_time))
    generator = np.random.default_rng([seed])
    part = np.full(pairs.height, splits.TEST)
    old = ~_new_items(pairs, params.new_item_share, params.split_seed)
    part[old] = split(pairs.filter(old), by_time[old], params, generator)
    train, valid, test = (
        pairs.filter(part == p).select("user", "item", "rating", "timestamp", "position")
        for p in (splits.TRAIN, splits.VALID, splits.TEST)
    )
    _refuse_empty(params, train=train, valid=valid, test=test)
    target = splits.choose_targets(train["user"].to_numpy(), params.target_share, generator)
    train = train.with_columns(pl.Series("target", target))
    counts = {
        "seed": seed,
        "split": params.split,
        "steps": steps,
        "passes": passes,
        "source": raw.counts,
        **statistics(pairs, train, valid, test, items),
    }
    return PreparedTables(train, valid, test, users, items, counts)


def deduplicate(pairs: pl.DataFrame, keep: Literal["first", "last"]) -> pl.DataFrame:
    """Keep one row of each user-item pair, the first or the last by timestamp.

    Rows with equal timestamps are ordered by their place in the file. The rows that stay keep their
    order. This step comes before the minimum rating, so that the minimum applies to the rating that
    stays: a user who rates an item again has changed their mind.
    """
    ordered = pairs.sort("timestamp", "order", nulls_last=False)
    return ordered.unique(["user_id", "item_id"], keep=keep, maintain_order=True).sort("order")


def rated(pairs: pl.DataFrame, min_rating: float) -> pl.DataFrame:
    """Keep the pairs rated at least min_rating.

    Raises ValueError when there are no ratings or when none is high enough.
    """
    ratings = pairs["rating"].drop_nulls()
    if ratings.is_empty():
        raise ValueError(
            f"prepare.min_rating = {min_rating}: the dataset has no ratings; set it to null"
        )
    kept = pairs.filter(pl.col("rating") >= min_rating)
    if kept.is_empty():
        raise ValueError(
            f"prepare.min_rating = {min_rating}: leaves nothing, ratings are "
            f"{ratings.min()!r}..{ratings.max()!r}; lower it"
        )
    return kept


def within(pairs: pl.DataFrame, since: int | None, until: int | None) -> pl.DataFrame:
    """Keep the pairs of a span of time, both ends included. None leaves an end open.

    Raises ValueError when that leaves nothing.
    """
    time = pl.col("timestamp")
    kept = pairs.filter(
        time >= since if since is not None else True, time <= until if until is not None else True
    )
    if kept.is_empty():
        low, high = pairs["timestamp"].min(), pairs["timestamp"].max()
        raise ValueError(
            f"prepare.since = {since}, prepare.until = {until}: leave nothing, times are "
            f"{low!r}..{high!r}; change them"
        )
    return kept


def in_core(pairs: pl.DataFrame, user_core: int, item_core: int) -> tuple[pl.DataFrame, int]:
    """Keep the pairs of the (user_core, item_core)-core, and return the number of passes.

    Raises ValueError when the core is empty.
    """
    user, item = (
        pairs[c].cast(pl.Categorical).to_physical().to_numpy().astype(np.int64)
        for c in ("user_id", "item_id")
    )
    keep, passes = splits.core(user, item, user_core, item_core)
    if not keep.any():
        raise ValueError(
            f"prepare.user_core = {user_core}, prepare.item_core = {item_core}: leave nothing of "
            f"{pairs.height} interactions of {pairs['user_id'].n_unique()} users with "
            f"{pairs['item_id'].n_unique()} items; lower them"
        )
    return pairs.filter(keep), passes


def dense_ids(ids: pl.Series, name: str) -> pl.DataFrame:
    """Number distinct ids from 0: a table of columns NAME (int32) and NAME_id.

    The order is by value where all ids are whole numbers, else alphabetical. name: user or item.
    """
    distinct = pl.DataFrame({f"{name}_id": ids.unique()})
    whole = pl.col(f"{name}_id").str.contains(r"^\d{1,18}$").all()
    value = pl.when(whole).then(pl.col(f"{name}_id").cast(pl.Int64, strict=False))
    return distinct.sort(value, f"{name}_id").select(
        pl.int_range(pl.len(), dtype=pl.Int32).alias(name), f"{name}_id"
    )


def _new_items(pairs: pl.DataFrame, share: float, split_seed: int) -> np.ndarray:
    """Mark the pairs of the items that only the test part may have, (E,) bool.

    See `splits.choose_new_items`.
    """
    user, item = (pairs[c].to_numpy().astype(np.int64) for c in ("user", "item"))
    # a generator of its own: what happens to new items moves no other pair
    return splits.choose_new_items(user, item, share, np.random.default_rng([split_seed, 1]))[item]


def in_order(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Return the permutation that sorts distinct pairs by user, then item.

    It sorts one array of numbers, which is much faster than sorting by two columns.
    """
    return np.argsort(user.astype(np.int64) * (int(item.max(initial=0)) + 1) + item)


def in_time(pairs: pl.DataFrame) -> np.ndarray:
    """Number the pairs by timestamp, then by their place in the file: (E,) int64, 0..E-1.

    pairs: columns timestamp and order. Pairs without a time come first. Without any times, the
    place in the file alone decides.
    """
    in_file = pairs["order"].to_numpy().astype(np.int64).argsort()
    time = pairs["timestamp"][in_file]
    known = time.is_not_null().to_numpy()
    # two stable sorts: they take one pass over a file that is sorted by time already
    in_order_of_time = np.argsort(time.fill_null(0).to_numpy(), kind="stable")
    untimed_first = np.argsort(known[in_order_of_time], kind="stable")
    number = np.empty(pairs.height, np.int64)
    number[in_file[in_order_of_time[untimed_first]]] = np.arange(pairs.height)
    return number


def positions(user: pl.Series, by_time: np.ndarray) -> pl.Series:
    """Return each pair's place in its user's history, from 0: the column position, int32.

    user: (E,) dense ids, sorted. by_time: (E,) of `in_time`.
    """
    place = splits.rank_within(user.to_numpy().astype(np.int64), by_time)
    return pl.Series("position", place, pl.Int32)


def split(
    pairs: pl.DataFrame,
    by_time: np.ndarray,
    params: PrepareSettings,
    generator: np.random.Generator,
) -> np.ndarray:
    """Assign each pair to a part: (E,) of TRAIN, VALID, TEST.

    pairs: columns user, item, timestamp, sorted by user, item. by_time: (E,) of `in_time`.
    generator: of the run's seed; the test pairs do not depend on it.
    Raises ValueError when the split needs times and some are missing, or when it needs the parts of
    the source and there are none.
    """
    user = pairs["user"].to_numpy().astype(np.int64)
    if params.split == "random":
        fixed = np.random.default_rng([params.split_seed, 2])
        return splits.random_split(
            user, params.valid_share, params.test_share, fixed=fixed, generator=generator
        )
    if params.split == "given":
        if "part" not in pairs.columns:
            raise ValueError("prepare.split = given: the source is not split; choose another split")
        return splits.given(pairs["part"].to_numpy(), user, params.valid_share, generator)
    if untimed := pairs["timestamp"].null_count():
        raise ValueError(
            f"prepare.split = {params.split}: needs a timestamp in every interaction, {untimed} "
            f"of {pairs.height} have none; set prepare.split: random, or name the column in "
            "tables.NAME.timestamp"
        )
    if params.split == "leave_last_out":
        return splits.leave_last_out(user, by_time)
    time = pairs["timestamp"].to_numpy()
    return splits.global_time(time, params.valid_share, params.test_share)


def _refuse_empty(params: PrepareSettings, **parts: pl.DataFrame) -> None:
    """Raise ValueError when a part of the split has no pair."""
    for name, frame in parts.items():
        if frame.is_empty() and params.split == "global_time":
            raise ValueError(
                f"prepare.split = global_time: gives no {name} pair, as pairs with equal times are "
                "in one part; use finer times, or set another prepare.split"
            )
        if frame.is_empty():
            has_share = params.split == "random" and name != "train"
            also = f", or raise prepare.{name}_share" if has_share else ""
            raise ValueError(
                f"prepare.split = {params.split}: gives no {name} item, the histories are too "
                f"short; raise prepare.user_core (= {params.user_core}){also}"
            )


def _then(
    steps: list[dict], step: str, before: pl.DataFrame, after: pl.DataFrame, why: str
) -> pl.DataFrame:
    """Record a step, and return what it left."""
    _step(steps, step, after, before.height, why)
    return after


def _step(steps: list[dict], step: str, after: pl.DataFrame, before: int, why: str) -> None:
    """Record how many users, items and interactions a step left, and how many it dropped."""
    left = {
        "users": after["user_id"].n_unique(),
        "items": after["item_id"].n_unique(),
        "interactions": after.height,
    }
    steps.append({"step": step, **left, "dropped": before - after.height, "why": why})
