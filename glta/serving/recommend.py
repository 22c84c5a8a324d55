"""Recommend with a trained model: `glta recommend`.

Ids and titles are those of the user's files.
"""

# B users, I items, J new items
from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.datasets.settings import TableSettings
from glta.evaluation.ranking import rank_all
from glta.methods.base import Recommender
from glta.methods.registry import models, recommender_class
from glta.params.check import load_params
from glta.params.model import Params
from glta.storage.cell import Cell
from glta.storage.files import read_json


def recommend(
    dataset: str,
    method: str,
    items: Sequence[str] = (),
    *,
    user: str | None = None,
    new_items: Path | None = None,
    seed: int = 0,
    k: int = 10,
) -> list[dict[str, Any]]:
    """Make one list, best first: {"item_id", "title", "score", "new"} for each item.

    Items that the user already has are left out.

    user: a user of the dataset; `items` are added to the user's training items. Without it, the
    list is for a new user, who has `items` alone. new_items: a file of items that were not in
    training. Raises ValueError for unknown names and ids and for a method that cannot do this, and
    FileNotFoundError where the stages have not run.
    """
    if method not in models():
        raise ValueError(f"{method}: unknown method{_nearest(method, models())}")
    if not items and user is None:
        raise ValueError(
            "name a user with --user ID, or items of a new user with --items ID,ID,..."
        )
    params = load_params().for_dataset(dataset)
    cell = Cell(dataset, seed)
    for needed in (cell.prepare, cell.model(method)):
        if not needed.exists():
            raise FileNotFoundError(
                f"{needed}: does not exist; `snakemake --cores all` makes it from params.yaml"
            )
    prepared = Prepared.load(cell.prepare)
    model: Recommender = recommender_class(method).load(cell.model(method))
    catalogue = prepared.items.select("item_id", "title")
    if new_items is not None:
        added = read_new_items(new_items, dataset, params, prepared)
        states = text_states(added, params, cell.step("profile") / "profile.json")
        model = model.extended(states)
        catalogue = pl.concat([catalogue, added.select("item_id", "title")])
    places = [_place(catalogue["item_id"], item, "item") for item in items]
    given = np.unique(places).astype(np.int64)
    has = given
    number = None
    if user is not None:
        number = _place(prepared.users["user_id"], user, "user")
        has = np.union1d(prepared.seen.union(prepared.test).items_of(number), given)
    shown = (
        _of_user(model, number, has, k, catalogue.height)
        if number is not None and not given.size
        else _of_items(model, _history(prepared, number, given), has, k, catalogue.height)
    )
    return [
        catalogue.row(item, named=True) | {"score": value, "new": item >= prepared.items.height}
        for item, value in zip(*(side.tolist() for side in shown), strict=True)
        if item >= 0
    ]


def _history(prepared: Prepared, user: int | None, given: np.ndarray) -> np.ndarray:
    """Return the items that a list is computed from: those given, and a user's training items."""
    return given if user is None else np.union1d(prepared.train.items_of(user), given)


def _of_user(
    model: Recommender, user: int, has: np.ndarray, k: int, num_items: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make the list of a user of training: items and scores, each (k,)."""
    users = np.array([user])
    exclude = Interactions.of(np.full_like(has, user), has, user + 1, num_items)
    items, scores = model.recommend(users, k, exclude)
    return items[0], scores[0]


def _of_items(
    model: Recommender, history: np.ndarray, has: np.ndarray, k: int, num_items: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make the list of a new user with these items: items and scores, each (k,)."""
    ones = np.ones(history.size, np.float32)
    rows = csr_array((ones, history, [0, history.size]), shape=(1, num_items))
    exclude = Interactions.of(np.zeros_like(has), has, 1, num_items)
    items, scores = rank_all(
        lambda _: model.score_histories(rows), np.array([0]), k=k, exclude=exclude
    )
    return items[0], scores[0]


def read_new_items(file: Path, dataset: str, params: Params, prepared: Prepared) -> pl.DataFrame:
    """Read new items from a file in the format of `tables`; texts may be missing.

    The columns have the names that params.yaml gives for this dataset, or the default names.

    Returns columns item, item_id, title, description, categories. Raises ValueError for an id that
    the dataset already has.
    """
    from glta.datasets.readers.own_tables import item_columns, read_sheets
    from glta.io.raw import check_items

    table = params.tables.get(dataset) or TableSettings(interactions="")
    parameter = f"tables.{dataset}"
    columns = item_columns(table)
    sheets = read_sheets(file, columns, parameter, separator=table.category_separator)
    first = next(sheets)
    columns = {
        role: column if column in first.columns or role == "item" else None
        for role, column in columns.items()
    }
    sheets = chain([first], sheets)
    found = check_items(
        sheets,
        file.name,
        max_bad_share=params.prepare.max_bad_share,
        columns=columns,
        parameter=parameter,
        separator=table.category_separator,
    ).rows
    if (twice := found.filter(pl.col("item_id").is_in(prepared.items["item_id"].implode()))).height:
        raise ValueError(
            f"{file}: item {twice['item_id'][0]} is not new, {dataset} has it already; take it out "
            "of the file"
        )
    return found.with_row_index("item")


def text_states(items: pl.DataFrame, params: Params, profile: Path) -> np.ndarray:
    """Encode the texts of items as the stage `profile` does, (J, W).

    profile: file profile.json of that stage. Raises ValueError when the language model is not the
    one that the stage used.
    """
    from glta.features.text.item_texts import item_texts
    from glta.nn.language.frozen import load_language

    language = load_language(params.language)
    used = read_json(profile)["language"]
    if language.sha256 != used["sha256"]:
        raise ValueError(
            f"language.model = {language.name}: its weights are not those of {used['model']}, with "
            f"which the stage profile ran; set language.model = {used['model']}, or run the stages "
            "again"
        )
    texts = item_texts(items, params.profile)["text"].to_list()
    return language.encode(texts, params.language.batch_tokens)


def _place(ids: pl.Series, wanted: str, what: str) -> int:
    place = ids.index_of(wanted)
    if place is None:
        raise ValueError(f"{what} {wanted}: unknown id{_nearest(wanted, ids)}")
    return place


def _nearest(wanted: str, valid) -> str:
    found = difflib.get_close_matches(wanted, list(valid), n=3, cutoff=0)
    return f"; nearest are {', '.join(found)}"
