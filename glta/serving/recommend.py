"""Recommend items to one user with a trained model, for `glta recommend`.

Ids and titles are those of the user's files.
"""

# I items, J new items, W language width
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.data.sequences import Sequences
from glta.evaluation.top_k_store import StoredList, TopKStore
from glta.methods.base import Recommender
from glta.methods.registry import units
from glta.methods.shared.stored_lists import pairs_of
from glta.methods.shared.without_history import recommend_to_all
from glta.nearest import hint
from glta.params.check import load_params
from glta.params.model import Params
from glta.serving.answers import Way, usable_store
from glta.serving.by_items import recommend_by_items
from glta.serving.new_items import encode_texts, read_new_items
from glta.serving.served_model import ServedModel, refuse_unknown


def recommend(
    method: str,
    dataset: str,
    items: Sequence[str] = (),
    *,
    user: str | None = None,
    new_items: Path | None = None,
    seed: int = 0,
    k: int = 10,
) -> list[dict[str, Any]]:
    """Recommend k items to one user, best first.

    Returns {"item_id", "title", "score", "new", "way"} for each. way: see `glta.serving.answers`.
    Items that the user has are left out.
    items: ids of items that the user has. A method that reads items in order takes the last one
        for the newest.
    user: id of a user of the dataset, whose own items count in addition to `items`. None: a user
        who is not in the dataset, and has `items` only. The list of a user without `items` is
        looked up in the store that `glta cache` has made, where it has what is asked for.
    new_items: a file of items that were not in training.
    Raises ValueError for unknown names and ids, and for a method that cannot do what is asked.
    Raises FileNotFoundError when the stages have not run.
    """
    refuse_unknown(method)
    if not items and user is None:
        raise ValueError(
            "neither items nor a user: name items with --items ID,ID,... or a user with --user ID"
        )
    if new_items is not None and "new_items" not in units()[method].method.capabilities:
        raise ValueError(f"{method} needs interactions to score an item: it cannot take new items")
    if new_items is not None and not new_items.is_file():
        raise FileNotFoundError(f"{new_items}: no such file")
    params = load_params().for_dataset(dataset)
    served = ServedModel.of(method, dataset, seed)
    prepared = served.prepared
    catalogue = prepared.items.select("item_id", "title")
    if user is not None and (store := usable_store(served)):
        if not items and new_items is None and (row := _from_store(store, served, user, k)):
            places = [_place(catalogue["item_id"], item, "item") for item in row.items]
            return _rows(catalogue, places, row.scores, prepared, "store")
        # what the store got with refreshes belongs to the user
        items = [*store.catalogue.named(store.added(user)), *items]
        user = None if store.lookup(user) and user not in prepared.users["user_id"] else user
    model = served.model
    fitted = pairs_of(prepared, served.fitted)
    if new_items is not None:
        added = read_new_items(
            new_items,
            prepared.items["item_id"],
            table=params.tables.get(dataset),
            parameter=f"tables.{dataset}",
            max_bad_share=params.prepare.max_bad_share,
            dataset=dataset,
        )
        states = _text_states(added, params, served.cell.step("profile"))
        model = model.extended(states)
        catalogue = pl.concat([catalogue, added.select("item_id", "title")])
    places = [_place(catalogue["item_id"], item, "item") for item in items]
    given = np.array([*dict.fromkeys(places)], np.int64)  # in their order
    number = None if user is None else _place(prepared.users["user_id"], user, "user")
    if number is None:
        own = has = given[:0]
    else:
        own = fitted.items_of(number)
        has = prepared.seen.union(prepared.test).items_of(number)
    has = np.union1d(has, given)
    if "sequences" in served.capabilities:
        if number is not None:
            own = prepared.ordered("train", "valid", "test").of_user(number).item
        history = np.append(own[~np.isin(own, given)], given)
        newcomer = model.with_histories(Sequences.of_lists([history.tolist()], catalogue.height))
        fitted = Interactions.of(np.zeros_like(history), history, 1, catalogue.height)
        found, scores = _of_user(newcomer, 0, has, k, fitted)
    elif number is not None and not given.size:
        fitted = replace(fitted, num_items=catalogue.height)
        history = own
        found, scores = _of_user(model, number, has, k, fitted)
    else:
        history = np.union1d(own, given)
        lists, scores_of = recommend_by_items(
            model,
            [history.tolist()],
            k,
            masked=[has.tolist()],
            num_items=catalogue.height,
            capabilities=served.capabilities,
        )
        found, scores = lists[0], scores_of[0]
    shown = found >= 0
    way: Way = "live" if history.size else "popularity"
    return _rows(catalogue, found[shown].tolist(), scores[shown].tolist(), prepared, way)


def _rows(
    catalogue: pl.DataFrame,
    places: Sequence[int],
    scores: Sequence[float],
    prepared: Prepared,
    way: Way,
) -> list[dict[str, Any]]:
    """Return the rows of `recommend` for items of the catalogue."""
    return [
        catalogue.row(place, named=True)
        | {"score": score, "new": place >= prepared.items.height, "way": way}
        for place, score in zip(places, scores, strict=True)
    ]


def _from_store(store: TopKStore, served: ServedModel, user: str, k: int) -> StoredList | None:
    """Return the list of a user in the store, without the test items; None where it has none.

    It has none for a user without a row, and of more items than a row has. For a method that reads
    items in order, it has none for a user with items that the store does not score by.
    """
    row = store.lookup(user)
    number = served.prepared.users["user_id"].index_of(user)
    if row is None:
        return None
    has: set[str] = set()
    if number is not None:
        if store.about.masked != "all":
            tested = served.prepared.test.items_of(number)
            has = set(store.catalogue.named(tested.tolist()))
        is_fitted = pairs_of(served.prepared, served.fitted).user_degree[number] > 0
        if "sequences" in served.capabilities and (has or not is_fitted):
            return None
    left = [pair for pair in zip(*row, strict=True) if pair[0] not in has][:k]
    is_whole = len(row.items) < store.about.k
    if len(left) < k and not is_whole:
        return None
    return StoredList([item for item, _ in left], [score for _, score in left])


def _of_user(
    model: Recommender, user: int, has: np.ndarray, k: int, fitted: Interactions
) -> tuple[np.ndarray, np.ndarray]:
    """Recommend k items to a user of the dataset. Returns items and scores, each (k,).

    has: items to leave out. fitted: see `recommend_to_all`; its items are the whole catalogue.
    """
    users = np.array([user])
    exclude = Interactions.of(np.full_like(has, user), has, user + 1, fitted.num_items)
    items, scores = recommend_to_all(model, users, k, fitted=fitted, exclude=exclude)
    return items[0], scores[0]


def _text_states(items: pl.DataFrame, params: Params, profile: Path) -> np.ndarray:
    """Encode the texts of items: (J, W) float32.

    profile: folder of that stage. Raises ValueError when the stage used another language
    model than params.yaml names.
    """
    from glta.features.profiles import Profiles
    from glta.nn.language.frozen import CACHE, load_language

    language = load_language(params.language)
    Profiles.load(profile).refuse_other(language.name, language.sha256)
    return encode_texts(items, params.profile, language, CACHE)


def _place(ids: pl.Series, wanted: str, what: str) -> int:
    """Return the row of an id. what: "item" or "user", for the message."""
    place = ids.index_of(wanted)
    if place is None:
        raise ValueError(f"{what} {wanted}: unknown id{hint(wanted, ids, 3)}")
    return place
