"""Refresh a top-K store: new lists for the users with new interactions, and for no others."""

# U users, I items, T users with new interactions, K list length
from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.top_k_store import NO_ITEM, Ids, TopKStore, row_checks
from glta.methods.base import Recommender
from glta.methods.shared.stored_lists import digest_of_data, histories_of, pairs_of
from glta.methods.shared.without_history import recommend_to_all
from glta.serving.by_items import can_fold_in, each_once, interactions_of, recommend_by_items

FOLD_IN = "fold-in"
KEPT = "without new items"


class Refreshed(NamedTuple):
    """Say what a refresh did.

    known: users of the store with a new list. new: users who were added.
    way: FOLD_IN: the lists follow from all of a user's items. KEPT: the method cannot score a list
        of items, so known users keep their scores and lose the new items, and new users get the
        most popular items.
    """

    known: int
    new: int
    way: str


def refresh(
    folder: Path,
    recommender: Recommender,
    prepared: Prepared,
    interactions: pl.DataFrame,
    *,
    model: Path,
    capabilities: Collection[str],
) -> Refreshed:
    """Compute the lists of users with new interactions again, and mask these items.

    The rows of all other users keep their bytes. Nothing is trained. The store remembers the new
    interactions, so the next refresh needs those that came later alone. Pairs that are known
    already are no new interactions; without any other the file stays as it is.
    folder: of the store. recommender: with the histories that the store names.
    interactions: columns user_id and item_id (text), oldest first. A pair that is there twice
        counts at its newest place.
    model: the folder of the recommender. capabilities: of the method.
    Raises ValueError for an item outside of the catalogue, and when the store was made from another
    model, another catalogue or other data.
    """
    store = TopKStore.open(folder, model=model, item_ids=prepared.items["item_id"].to_list())
    if store.about.data != digest_of_data(prepared, store.about.masked):
        store.refuse("was made for other users, or for other interactions of them")
    users = _touched(store, prepared, interactions)
    way = FOLD_IN if can_fold_in(capabilities) else KEPT
    if not users:
        return Refreshed(0, 0, way)
    if way == FOLD_IN:
        items, scores = recommend_by_items(
            recommender,
            [user.history for user in users],
            store.about.k,
            masked=[user.masked for user in users],
            num_items=len(store.catalogue),
            capabilities=capabilities,
        )
    else:
        items, scores = _kept(store, recommender, prepared, users)
    num_new = sum(user.row is None for user in users)
    done = Refreshed(len(users) - num_new, num_new, way)
    _merged(store, users, items, scores, done).save(folder)
    return done


class _User(NamedTuple):
    """Hold a user with interactions to add.

    row: in the store, number: in the data; None for a user who is not there.
    base: items that the store's lists depend on, oldest first. known: those that it masks.
    earlier: items of earlier refreshes. new: those of this one; both oldest first.
    """

    id: str
    row: int | None
    number: int | None
    base: list[int]
    known: list[int]
    earlier: list[int]
    new: list[int]

    @property
    def history(self) -> list[int]:
        return [*self.base, *self.earlier, *self.new]

    @property
    def masked(self) -> set[int]:
        return {*self.known, *self.earlier, *self.new}


def _touched(store: TopKStore, prepared: Prepared, interactions: pl.DataFrame) -> list[_User]:
    """Return the users with new interactions, ascending by their ids."""
    place = {item: n for n, item in enumerate(prepared.items["item_id"])}
    given: dict[str, list[int]] = {}
    for user, item in interactions.select("user_id", "item_id").iter_rows():
        if item not in place:
            raise ValueError(
                f"item {item} of user {user}: is not in the catalogue of {store.path}; take its "
                "rows out, or train again with it"
            )
        given.setdefault(user, []).append(place[item])
    numbers = dict(prepared.users.select("user_id", "user").iter_rows())
    about = store.about
    masked = pairs_of(prepared, about.masked)
    pairs = pairs_of(prepared, about.histories)
    histories = histories_of(prepared, about.histories) if prepared.parts else None
    users = []
    for user in sorted(given):
        number = numbers.get(user)
        base: list[int] = []
        known: list[int] = []
        if number is not None:
            own = histories.of_user(number).item if histories else pairs.items_of(number)
            base = own.tolist()
            known = masked.items_of(number).tolist()
        earlier = store.added(user)
        has = {*known, *earlier}
        new = [item for item in each_once(given[user]) if item not in has]
        if new:
            users.append(_User(user, store.users.find(user), number, base, known, earlier, new))
    return users


def _kept(
    store: TopKStore, recommender: Recommender, prepared: Prepared, users: list[_User]
) -> tuple[np.ndarray, np.ndarray]:
    """Make the lists by a method that cannot score a list of items: see `Refreshed`."""
    k = store.about.k
    items = np.full((len(users), k), NO_ITEM, np.int64)
    scores = np.full((len(users), k), -np.inf, np.float32)
    known = [place for place, user in enumerate(users) if user.number is not None]
    if known:
        masked = [users[place].masked for place in known]
        numbers = np.array([users[place].number for place in known], np.int64)
        rows = interactions_of(masked, len(store.catalogue))
        num_users = prepared.users.height
        exclude = Interactions.of(numbers[rows.user], rows.item, num_users, rows.num_items)
        fitted = pairs_of(prepared, store.about.fitted)
        found = recommend_to_all(recommender, numbers, k, fitted=fitted, exclude=exclude)
        items[known], scores[known] = found
    for place, user in enumerate(users):
        if user.number is None:
            own, counts = store.popular_items(k, user.masked)
            items[place, : own.size], scores[place, : own.size] = own, counts
    return items, scores


def _merged(
    store: TopKStore,
    users: list[_User],
    items: np.ndarray,
    scores: np.ndarray,
    done: Refreshed,
) -> TopKStore:
    """Put lists into a copy of a store: over the rows of known users, and as rows of new ones."""
    old_ids = store.users.named(range(len(store.users)))
    new_ids = [user.id for user in users if user.row is None]
    ids = sorted([*old_ids, *new_ids])
    place = {user: row for row, user in enumerate(ids)}
    old_row = np.array([place[user] for user in old_ids], np.int64)
    row = np.array([place[user.id] for user in users], np.int64)

    changed = Ids.of([user.id for user in users])
    new_items = items.astype(np.int32)
    new_scores = scores.astype(np.float32)

    def joined(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        whole = np.empty((len(ids), *old.shape[1:]), old.dtype)
        whole[old_row] = old
        whole[row] = new
        return whole

    added_user = np.concatenate(
        [old_row[store.added_user], np.repeat(row, [len(user.new) for user in users])]
    )
    added_item = np.concatenate([store.added_item, *(user.new for user in users)])
    # the pairs of earlier refreshes come first, and a stable sort leaves them before the new ones
    order = np.argsort(added_user, kind="stable")
    about = store.about.model_copy(update={"refreshes": (*store.about.refreshes, done._asdict())})
    return TopKStore(
        about,
        Ids.of(ids),
        store.catalogue,
        items=joined(store.items, new_items),
        scores=joined(store.scores, new_scores),
        popular=store.popular,
        num_users=store.num_users,
        added_user=added_user[order].astype(np.int32),
        added_item=added_item[order].astype(np.int32),
        # those of the other rows stay, so that a row that was damaged before is still found
        checks=joined(store.checks, row_checks(changed, new_items, new_scores)),
    )
