"""Answer requests for recommendations in a running program, by the fastest way that is right."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Literal, NamedTuple, Self

import polars as pl

from glta.evaluation.top_k_store import FILE, TopKStore
from glta.nearest import hint
from glta.serving.by_items import can_fold_in, recommend_by_items
from glta.serving.served_model import ServedModel

Way = Literal["store", "live", "popularity"]
"""How a list was made. store: it was looked up. live: the model scored a list of items now.
popularity: the items with the most users."""


class Answer(NamedTuple):
    """Hold a list and the way that it was made. items: ids, best first."""

    way: Way
    items: list[str]
    scores: list[float]


class Answers:
    """Answer by the store; for users who have no row by their items; else by popularity.

    The model is loaded when the first user without a row gives items.
    """

    def __init__(self, store: TopKStore, served: ServedModel):
        self.store = store
        self.served = served
        self._place: dict[str, int] = {}

    @classmethod
    def open(cls, method: str, dataset: str, seed: int = 0) -> Self:
        """Open the store that `glta cache` has made of a method's model.

        Raises FileNotFoundError without a model or a store, and ValueError for a store that is
        damaged, or of another model or catalogue.
        """
        served = ServedModel.of(method, dataset, seed)
        return cls(open_store(served), served)

    def recommend(self, user: str | None, items: Collection[str] = (), k: int = 10) -> Answer:
        """Recommend k items to a user. The given items are left out.

        user: an id; None for a user without one. items: ids of what the user has, oldest first. A
        user with a row is not scored by them: `refresh` does that.
        Raises ValueError for an unknown item, and for a k that is larger than that of the store.
        """
        self.store.refuse_long(k)
        history = self._numbers(items)
        row = None if user is None else self.store.lookup(user, None if history else k)
        if row is not None:
            left = [pair for pair in zip(*row, strict=True) if pair[0] not in items][:k]
            return Answer("store", [item for item, _ in left], [score for _, score in left])
        if not history or not can_fold_in(self.served.capabilities):
            return Answer("popularity", *self.store.most_popular(k, history))
        numbers, scores = recommend_by_items(
            self.served.model,
            [history],
            k,
            masked=[history],
            num_items=len(self.store.catalogue),
            capabilities=self.served.capabilities,
        )
        shown = numbers[0] >= 0
        names = self.store.catalogue.named(numbers[0][shown].tolist())
        return Answer("live", names, scores[0][shown].tolist())

    def _numbers(self, items: Collection[str]) -> list[int]:
        """Return the numbers of items, each once. Raises ValueError for an unknown one."""
        if items and not self._place:
            names = self.store.catalogue.named(range(len(self.store.catalogue)))
            self._place = {name: number for number, name in enumerate(names)}
        if unknown := [item for item in items if item not in self._place]:
            raise ValueError(f"item {unknown[0]}: unknown id{hint(unknown[0], self._place, 3)}")
        return [*dict.fromkeys(self._place[item] for item in items)]


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
