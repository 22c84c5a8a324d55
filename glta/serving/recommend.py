"""Recommend items to one user with a trained model, for `glta recommend`.

Ids and titles are those of the user's files.
"""

# J new items, W language width
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from glta.evaluation.top_k_store import StoredList, TopKStore
from glta.methods.registry import units
from glta.methods.shared.stored_lists import scored_pairs
from glta.params.check import load_params
from glta.params.model import Params
from glta.serving.answers import Answer, Answers, usable_store
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
    store = None if user is None else usable_store(served)
    if store and user is not None and not items and new_items is None:
        row = _from_store(store, served, user, k)
        if row is not None:
            return _rows(served, Answer("store", *row))
    histories = served.histories_to_score(params.recommend, with_test=True)
    # what the store got with refreshes belongs to the user
    answers = Answers(served, histories=histories, masked="all", refreshed=store)
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
        answers = answers.with_new_items(added, states)
    if user is not None:
        answers.refuse_unknown_user(user)
    return _rows(answers.served, answers.compute(user, items, k), prepared.items.height)


def _rows(served: ServedModel, found: Answer, num_known: int | None = None) -> list[dict[str, Any]]:
    """Return the rows of `recommend`. num_known: items that are not new; None: all."""
    items = served.prepared.items
    place = {item: number for number, item in enumerate(items["item_id"])}
    return [
        {
            "item_id": item,
            "title": items["title"][place[item]],
            "score": score,
            "new": num_known is not None and place[item] >= num_known,
            "way": found.way,
        }
        for item, score in zip(found.items, found.scores, strict=True)
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
        scored = scored_pairs(served.prepared, served.fitted, store.about.histories)
        if "sequences" in served.capabilities and (has or not scored.user_degree[number]):
            return None
    left = [pair for pair in zip(*row, strict=True) if pair[0] not in has][:k]
    is_whole = len(row.items) < store.about.k
    if len(left) < k and not is_whole:
        return None
    return StoredList([item for item, _ in left], [score for _, score in left])


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
