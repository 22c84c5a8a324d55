"""Load a trained recommender from where the stages wrote it."""

# I items, J new items, W width of text states

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.data.made_from import refuse_other_data
from glta.data.prepared import Prepared
from glta.evaluation.settings import RecommendSettings, uses_seen_items
from glta.evaluation.top_k_store import Pairs
from glta.methods.base import Recommender
from glta.methods.chain import refit_of
from glta.methods.registry import models, recommender_class, units
from glta.methods.shared.stored_lists import histories_of
from glta.nearest import hint
from glta.storage.cell import Cell
from glta.storage.files import read_json


@dataclass(frozen=True)
class ServedModel:
    """Name the model of a method for a dataset and a seed. It is loaded at its first use.

    Make one with `ServedModel.of`, which checks that the model is there, and that it was trained
    on the prepared data.
    """

    method: str
    cell: Cell

    @classmethod
    def of(cls, method: str, dataset: str, seed: int) -> ServedModel:
        """Check that a model and its data are there, and belong together.

        Raises ValueError for an unknown method, and for a model that was trained on other prepared
        data than those that are there now. Raises FileNotFoundError before the stages have run.
        """
        refuse_unknown(method)
        cell = Cell(dataset, seed)
        for needed in (cell.prepare, cell.model(method)):
            if not needed.exists():
                raise FileNotFoundError(
                    f"{needed}: no such folder; `snakemake --cores all` makes it, if params.yaml "
                    "names the dataset, the seed and the method"
                )
        served = cls(method, cell)
        refuse_other_data(served.folder, served.prepared, stage=f"{method}@{dataset}-{seed}")
        return served

    @property
    def folder(self) -> Path:
        """The folder of the model that serves: of the refit if there is one."""
        return refit_of(self.cell.model(self.method))

    @property
    def fitted(self) -> Pairs:
        """The pairs that the model was fitted on."""
        return "train" if self.folder == self.cell.model(self.method) else "seen"

    @property
    def capabilities(self) -> frozenset[str]:
        """See `glta.methods.spec.Capability`."""
        return units()[self.method].method.capabilities

    @cached_property
    def prepared(self) -> Prepared:
        """The prepared data."""
        return Prepared.load(self.cell.prepare)

    @cached_property
    def model(self) -> Recommender:
        """The recommender as it was saved."""
        return recommender_class(self.method).load(self.folder)

    def histories_to_score(self, settings: RecommendSettings, *, with_test: bool) -> Pairs:
        """Return the pairs that users are scored by: those of test time.

        with_test: test items count as the users', too; a method that reads items in order scores by
        these as well.
        """
        if with_test and "sequences" in self.capabilities:
            return "all"
        split = read_json(self.cell.prepare / "counts.json")["split"]
        return "seen" if uses_seen_items(settings, split) else self.fitted

    def with_histories(self, histories: Pairs) -> Recommender:
        """Return the recommender that scores by these pairs."""
        if histories == self.fitted:
            return self.model
        return self.model.with_histories(histories_of(self.prepared, histories))


@dataclass(frozen=True, eq=False)
class WithNewItems(ServedModel):
    """Name a model whose catalogue has J new items at the end. Nothing is trained.

    base: the model without them. items: columns of the catalogue that are known of them, item_id
    at least. states_JW: their text states.
    """

    base: ServedModel
    items: pl.DataFrame
    states_JW: np.ndarray

    @classmethod
    def to(cls, base: ServedModel, items: pl.DataFrame, states_JW: np.ndarray) -> Self:
        """Add new items to a model."""
        return cls(base.method, base.cell, base, items, states_JW)

    @cached_property
    def prepared(self) -> Prepared:
        """The prepared data over all items. No user has a new one."""
        base = self.base.prepared
        added = self.items.select(pl.col("^(item_id|title|description|categories)$"))
        items = pl.concat([base.items.drop("item"), added], how="diagonal").with_row_index("item")

        def wider(pairs: Interactions) -> Interactions:
            return replace(pairs, num_items=items.height)

        return replace(
            base,
            train=wider(base.train),
            valid=wider(base.valid),
            test=wider(base.test),
            graph=wider(base.graph),
            target=wider(base.target),
            items=items,
        )

    @cached_property
    def model(self) -> Recommender:
        """The recommender of all items. Raises ValueError for a method that takes no new ones."""
        return self.base.model.extended(self.states_JW)


def refuse_unknown(method: str) -> None:
    """Raise ValueError unless a method or an ablation has this name."""
    if method not in models():
        others = hint(method, models(), listed_by="glta methods")
        raise ValueError(f"{method}: unknown method{others}")
