"""Answer requests for recommendations in a running program, by the fastest way that is right."""

# U users, I items, B users of a block, K list length, J new items, W width of text states
from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Literal, NamedTuple, Self

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.evaluation.top_k_store import FILE, Pairs, TopKStore
from glta.methods.base import Recommender, Scorer
from glta.methods.shared.stored_lists import histories_of, pairs_of, scored_pairs
from glta.methods.shared.without_history import recommend_to_all
from glta.nearest import hint
from glta.serving.by_items import (
    can_fold_in,
    each_once,
    recommend_by_items,
    score_by_items,
)
from glta.serving.served_model import ServedModel, WithNewItems

Way = Literal["store", "live", "popularity"]
"""How a list was made. store: it was looked up. live: the model scored the user, or a list of
items, now. popularity: the items with the most users."""

MOST_LEFT_OUT = 50
"""Items of a history, the newest ones, that are tried as the reason for a recommendation."""


class Answer(NamedTuple):
    """Hold a list and the way that it was made. items: ids, best first."""

    way: Way
    items: list[str]
    scores: list[float]


class Answers:
    """Answer by the store; where it has no answer, by the model; else by popularity.

    The model is loaded when the first request needs it, or by `warm`.
    """

    def __init__(
        self,
        served: ServedModel,
        store: TopKStore | None = None,
        *,
        histories: Pairs = "train",
        masked: Pairs = "seen",
        refreshed: TopKStore | None = None,
    ):
        """store: of the model; None: there is none. histories, masked: see `StoreAbout`.

        refreshed: a store whose lists are not used, but what refreshes added to it belongs to the
            users. Its items are the first of the catalogue. None: that is `store`.
        """
        self.served = served
        self.store = store
        self.refreshed = store if refreshed is None else refreshed
        self.histories: Pairs = histories
        self.masked: Pairs = masked

    @classmethod
    def open(cls, method: str, dataset: str, seed: int = 0) -> Self:
        """Open the store that `glta cache` has made of a method's model.

        Raises FileNotFoundError without a model or a store, and ValueError for a store that is
        damaged, or of another model or catalogue.
        """
        served = ServedModel.of(method, dataset, seed)
        store = open_store(served)
        return cls(served, store, histories=store.about.histories, masked=store.about.masked)

    def recommend(
        self,
        user: str | None,
        items: Collection[str] = (),
        k: int = 10,
        *,
        only: Collection[str] | None = None,
        without: Collection[str] = (),
    ) -> Answer:
        """Recommend k items to a user. The given items are left out.

        user: an id; None for a user without one. items: ids of what the user has, oldest first; one
        that is named twice counts at its newest place. A user with a row in the store is not
        scored by them, unless nothing else is known of the user: a refresh does that.
        only: ids of the items that may be shown; None: all. without: ids of items to leave out.
        Raises ValueError for an unknown item, and for k below 1.
        """
        found = self.look_up(user, items, k, only=only, without=without)
        return found or self.compute(user, items, k, only=only, without=without)

    def look_up(
        self,
        user: str | None,
        items: Collection[str] = (),
        k: int = 10,
        *,
        only: Collection[str] | None = None,
        without: Collection[str] = (),
    ) -> Answer | None:
        """Answer as `recommend` does, from the store alone; None where the row has no answer.

        It has none where the user has no row, and where fewer than k items of the row are left,
        while others were not among the best K. Nor has it where items are given, the row is of
        popular items, as nothing else is known of the user, and the method can score the items.
        """
        _refuse_short(k)
        named = self._numbers([*items, *without, *(only or ())])
        if self.store is None or user is None:
            return None
        plain = not named and only is None
        row = self.store.lookup(user, k if plain and k <= self.store.about.k else None)
        if row is None:
            return None
        if items and can_fold_in(self.served.capabilities) and not self._is_scored(user):
            return None
        hidden = {*items, *without}
        shown = None if only is None else {*only}
        left = [
            pair
            for pair in zip(*row, strict=True)
            if pair[0] not in hidden and (shown is None or pair[0] in shown)
        ][:k]
        is_cut = len(row.items) == self.store.about.k
        if len(left) < k and is_cut and self._can_compute(user):
            return None
        return Answer("store", [item for item, _ in left], [score for _, score in left])

    def compute(
        self,
        user: str | None,
        items: Collection[str] = (),
        k: int = 10,
        *,
        only: Collection[str] | None = None,
        without: Collection[str] = (),
    ) -> Answer:
        """Answer as `recommend` does, without the store's lists.

        A user of the data who gives items is scored by their own items and these.
        """
        _refuse_short(k)
        number = self._number(user)
        given = [*self._added(user), *self._numbers(items)]
        hidden = {*given, *self._hidden(only, without)}
        if number is not None:
            hidden |= {*self._masked.items_of(number).tolist()}
        history = self._history(number, given)
        # one user's items are faster to score by than the histories of all users
        by_items = given or number is None or self.histories == "all"
        if history and by_items and can_fold_in(self.served.capabilities):
            numbers, scores = recommend_by_items(
                self.served.model,
                [history],
                k,
                masked=[hidden],
                num_items=self.num_items,
                capabilities=self.served.capabilities,
            )
            return self._answer("live", numbers[0], scores[0])
        if number is None or not self._scored.user_degree[number]:
            return self._answer("popularity", *self._popular(k, hidden))
        blocked = np.array(sorted(hidden), np.int64)
        exclude = Interactions.of(
            np.full_like(blocked, number), blocked, number + 1, self.num_items
        )
        return self._answer("live", *(one[0] for one in self._rank([number], k, exclude)))

    def similar(
        self,
        item: str,
        k: int = 10,
        *,
        only: Collection[str] | None = None,
        without: Collection[str] = (),
    ) -> Answer:
        """Return the k items that the model recommends to a user who has one item alone.

        only, without: see `recommend`. Raises ValueError for an unknown item, and for a method
        that cannot score a list of items.
        """
        if not can_fold_in(self.served.capabilities):
            raise ValueError(
                f"{self.served.method} cannot score a list of items, and so finds no similar "
                "items; `glta methods` shows which methods serve new users"
            )
        return self.compute(None, [item], k, only=only, without=without)

    def reasons(
        self,
        user: str | None,
        items: Collection[str],
        shown: Sequence[str],
        most: int = 3,
    ) -> list[list[str]]:
        """Say because of which items of a user each item is shown. Returns ids, strongest first.

        Each item of the history is left out once. The shown item is recommended because of the
        items without which its score falls most. The MOST_LEFT_OUT newest items are tried.
        user, items: as in `recommend`. most: reasons of a shown item, at most.
        A method that cannot score a list of items gives no reason, and popular items have none.
        """
        history = self._history(self._number(user), [*self._added(user), *self._numbers(items)])
        columns = self._numbers(shown)
        nothing: list[list[str]] = [[] for _ in shown]
        if not history or not can_fold_in(self.served.capabilities):
            return nothing
        if not items and not self._is_scored(user):
            return nothing
        if len(history) == 1:
            return [self.ids(history) for _ in shown]
        tried = range(max(0, len(history) - MOST_LEFT_OUT), len(history))
        scores = score_by_items(
            self.served.model,
            [history, *(history[:n] + history[n + 1 :] for n in tried)],
            num_items=self.num_items,
            capabilities=self.served.capabilities,
        )
        if scores is None:
            return nothing
        fall = scores[:1, columns] - scores[1:, columns]
        found = []
        for of_item in fall.T:
            order = np.argsort(-of_item, kind="stable")[:most]
            found.append(self.ids([history[tried[n]] for n in order if of_item[n] > 0]))
        return found

    def lists(
        self,
        users: Sequence[str],
        k: int = 10,
        *,
        only: Collection[str] | None = None,
        without: Collection[str] = (),
    ) -> list[Answer]:
        """Compute the lists of several users of the data in one call, without the store.

        For the users of the stage `recommend`, in their order and without filters, items and
        scores equal those of the stage to the last bit. Other blocks of users may differ from it in
        the last bits. Raises ValueError for an unknown user.
        """
        _refuse_short(k)
        if unknown := [user for user in users if user not in self._user_place]:
            raise ValueError(f"user {unknown[0]}: unknown id{self._near_user(unknown[0])}")
        numbers = [self._user_place[user] for user in users]
        hidden = self._hidden(only, without)
        if not hidden:
            items, scores = self._rank(numbers, k, self._masked)
        elif isinstance(self._ranker, Scorer) and len(hidden) < self.num_items:
            items, scores = self._rank_without(self._ranker, numbers, k, hidden)
        else:
            return [self.compute(user, k=k, only=only, without=without) for user in users]
        ways: list[Way] = ["live" if self._scored.user_degree[n] else "popularity" for n in numbers]
        return [self._answer(*one) for one in zip(ways, items, scores, strict=True)]

    def with_new_items(self, items: pl.DataFrame, states_JW: np.ndarray) -> Answers:
        """Return answers that may have new items, too.

        Nothing is trained. The lists of the store are not used; what refreshes added to it still
        belongs to the users.

        items: columns item_id, title. states_JW: their text states. Raises ValueError for an id
        that is not new, and for a method that needs interactions to score an item.
        """
        if known := [item for item in items["item_id"] if item in self._item_place]:
            raise ValueError(f"item {known[0]} is not new, the catalogue has it already")
        served = WithNewItems.to(self.served, items, states_JW)
        return Answers(
            served, histories=self.histories, masked=self.masked, refreshed=self.refreshed
        )

    def warm(self) -> Self:
        """Load all that answers need, so that no later request waits for it."""
        first = self.ids(range(min(1, self.num_items)))
        self.titles(first)
        if users := [*self._user_place][:1]:
            self.compute(users[0], k=1)
            self._is_scored(users[0])
        if can_fold_in(self.served.capabilities):
            self.compute(None, first, 1)
        return self

    def unknown_item(self, items: Iterable[str]) -> str | None:
        """Return the first id that is none of an item; None without one."""
        return next((item for item in items if item not in self._item_place), None)

    def knows(self, user: str) -> bool:
        """Tell whether a user is one of the data, or has a row in the store."""
        if user in self._user_place:
            return True
        return self.refreshed is not None and self.refreshed.users.find(user) is not None

    def ranks_by_data(self, user: str) -> bool:
        """Tell whether the data have a user, and all that is known of the user."""
        return user in self._user_place and not self._added(user)

    def refuse_unknown_user(self, user: str) -> None:
        """Raise ValueError for a user who is not known."""
        if not self.knows(user):
            raise ValueError(f"user {user}: unknown id{self._near_user(user)}")

    def _near_user(self, user: str) -> str:
        return hint(user, self._user_place, 3)

    @cached_property
    def item_ids(self) -> list[str]:
        """The ids of all items in the order of their numbers."""
        if self.store is not None:
            return self.store.catalogue.named(range(len(self.store.catalogue)))
        return self.served.prepared.items["item_id"].to_list()

    @property
    def num_items(self) -> int:
        return len(self.item_ids)

    def ids(self, numbers: Iterable[int]) -> list[str]:
        """Return the ids of items by their numbers."""
        return [self.item_ids[number] for number in numbers]

    def titles(self, items: Iterable[str]) -> list[str]:
        """Return the titles of items. Raises ValueError for an unknown id."""
        return [self._titles[number] for number in self._numbers(items)]

    def find_titles(self, text: str, limit: int = 10) -> list[tuple[str, str]]:
        """Return ids and titles of items with a text in their title, whatever its case.

        Titles that begin with the text come first, then shorter ones. limit: of the result.
        """
        wanted = text.strip().casefold()
        hits = [number for number, title in enumerate(self._folded_titles) if wanted in title]

        def place(number: int) -> tuple[bool, int, int]:
            title = self._folded_titles[number]
            return (not title.startswith(wanted), len(title), number)

        return [(self.item_ids[n], self._titles[n]) for n in sorted(hits, key=place)[:limit]]

    @cached_property
    def _titles(self) -> list[str]:
        return self.served.prepared.items["title"].fill_null("").to_list()

    @cached_property
    def _folded_titles(self) -> list[str]:
        return [title.casefold() for title in self._titles]

    @cached_property
    def _item_place(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.item_ids)}

    @cached_property
    def _user_place(self) -> dict[str, int]:
        return {name: n for n, name in enumerate(self.served.prepared.users["user_id"])}

    @cached_property
    def _fitted(self) -> Interactions:
        return pairs_of(self.served.prepared, self.served.fitted)

    @cached_property
    def _scored(self) -> Interactions:
        """The pairs of which a user must have one not to get what is popular."""
        fitted = self.served.fitted
        histories = self.histories if can_fold_in(self.served.capabilities) else fitted
        return scored_pairs(self.served.prepared, fitted, histories)

    @cached_property
    def _masked(self) -> Interactions:
        return pairs_of(self.served.prepared, self.masked)

    @cached_property
    def _ranker(self) -> Recommender:
        return self.served.with_histories(self.histories)

    @cached_property
    def _popularity(self) -> tuple[np.ndarray, np.ndarray]:
        """All items, those with the most users first, and these numbers."""
        if self.store is not None:
            return self.store.popular, self.store.num_users
        degree = self._fitted.item_degree
        order = np.argsort(-degree, kind="stable")
        return order, degree[order].astype(np.float32)

    def _popular(self, k: int, hidden: Collection[int]) -> tuple[np.ndarray, np.ndarray]:
        items, counts = self._popularity
        left = ~np.isin(items, [*hidden])
        return items[left][:k], counts[left][:k]

    def _rank(
        self, numbers: Sequence[int], k: int, exclude: Interactions
    ) -> tuple[np.ndarray, np.ndarray]:
        users = np.array(numbers, np.int64)
        return recommend_to_all(
            self._ranker, users, k, fitted=self._fitted, exclude=exclude, scored=self._scored
        )

    def _rank_without(
        self, ranker: Scorer, numbers: Sequence[int], k: int, hidden: Collection[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rank as `_rank` does, among the items that filters leave."""
        # it imports torch, which answers from the store do without
        from glta.evaluation.ranking import rank_among

        popular = self._fitted.item_degree.astype(np.float32)

        def score(block: np.ndarray) -> np.ndarray:
            scores_BI = ranker.score(block)
            scores_BI[self._scored.user_degree[block] == 0] = popular
            return scores_BI

        left = np.setdiff1d(np.arange(self.num_items), [*hidden])
        return rank_among(score, np.array(numbers, np.int64), k=k, exclude=self._masked, items=left)

    def _answer(self, way: Way, numbers: np.ndarray, scores: np.ndarray) -> Answer:
        shown = numbers >= 0
        return Answer(way, self.ids(numbers[shown].tolist()), scores[shown].tolist())

    def _number(self, user: str | None) -> int | None:
        return None if user is None else self._user_place.get(user)

    def _added(self, user: str | None) -> list[int]:
        """Return what the store got for a user with refreshes."""
        return [] if user is None or self.refreshed is None else self.refreshed.added(user)

    def _is_scored(self, user: str | None) -> bool:
        """Tell whether a user without given items gets more than what is popular."""
        number = self._number(user)
        known = number is not None and self._scored.user_degree[number] > 0
        return known or bool(self._added(user))

    def _can_compute(self, user: str) -> bool:
        """Tell whether a list of a user can be more than what is popular."""
        if self._added(user) and can_fold_in(self.served.capabilities):
            return True
        return self._number(user) is not None

    def _history(self, number: int | None, given: Sequence[int]) -> list[int]:
        """Return the items of a user, oldest first; the given ones are the newest."""
        newest = each_once(given)
        if number is None:
            return newest
        prepared = self.served.prepared
        if prepared.parts:
            own = self._ordered.of_user(number).item.tolist()
        else:
            own = pairs_of(prepared, self.histories).items_of(number).tolist()
        again = {*newest}
        return [*(item for item in own if item not in again), *newest]

    @cached_property
    def _ordered(self):
        return histories_of(self.served.prepared, self.histories)

    def _hidden(self, only: Collection[str] | None, without: Collection[str]) -> set[int]:
        """Return the numbers of the items that filters leave out."""
        hidden = {*self._numbers(without)}
        if only is not None:
            hidden |= {*range(self.num_items)} - {*self._numbers(only)}
        return hidden

    def _numbers(self, items: Iterable[str]) -> list[int]:
        """Return the numbers of items. Raises ValueError for an unknown one."""
        wanted = [*items]
        if not wanted:
            return []
        if unknown := [item for item in wanted if item not in self._item_place]:
            near = hint(unknown[0], self._item_place, 3)
            raise ValueError(f"item {unknown[0]}: unknown id{near}")
        return [self._item_place[item] for item in wanted]


def _refuse_short(k: int) -> None:
    if k < 1:
        raise ValueError(f"k = {k}: must be at least 1; it is the length of the list")


def open_store(served: ServedModel) -> TopKStore:
    """Open the store of a model, and check that it is of this model and its catalogue.

    It is the one that `glta cache` has written, or else one that a step of the method has written
    into the folder of the model. Raises as `TopKStore.open` does.
    """
    folder = served.cell.store(served.method)
    if not folder.exists() and (served.folder / FILE).exists():
        folder = served.folder
    items = pl.read_parquet(served.cell.prepare / "items.parquet", columns=["item_id"])
    item_ids = items["item_id"].to_list()
    return TopKStore.open(folder, model=served.folder, item_ids=item_ids)


def usable_store(served: ServedModel) -> TopKStore | None:
    """Open the store of a model; None where there is none.

    A line on stderr says so where there is one that does not fit.
    """
    try:
        return open_store(served)
    except FileNotFoundError:
        return None
    except ValueError as error:
        print(f"{error}; computed without it", file=sys.stderr)
        return None
