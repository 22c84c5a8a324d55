"""Ask a trained model: `glta recommend`. Ids and titles are those of the user's files."""

# B people, I items, J new items
from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from glta.ablations import ABLATIONS
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.datasets.settings import TableSettings
from glta.evaluation.ranking import rank_all
from glta.methods.registry import METHODS, method_class
from glta.params.model import Params, load_params
from glta.storage.cell import folder
from glta.storage.files import read_json


def recommend(
    dataset: str,
    method: str,
    items: Sequence[str] = (),
    user: str | None = None,
    new_items: Path | None = None,
    seed: int = 0,
    k: int = 10,
) -> list[dict[str, Any]]:
    """Make the list of one person: {"item_id", "title", "score", "new"} each, best first, without
    what they have.

    user: a user of the dataset, by their training items and `items` on top; without, somebody who
    has `items` alone.
    new_items: a file of items that came after training. Raises ValueError for unknown names and
    ids, for a method that cannot do this, and FileNotFoundError where the stages have not run.
    """
    if method not in (known := {*METHODS, *ABLATIONS}):
        raise ValueError(f"{method}: unknown method{_nearest(method, sorted(known))}")
    if not items and user is None:
        raise ValueError("whose list? Name items with --items ID,ID,... or a user with --user ID")
    params = load_params().for_dataset(dataset)
    model, prepared = folder(dataset, seed, "models", method), folder(dataset, seed, "prepare")
    for needed in (prepared, model):
        if not needed.exists():
            raise FileNotFoundError(
                f"{needed}: is not there; `snakemake --cores all` makes it from params.yaml"
            )
    prepared, model = (
        Prepared.load(prepared),
        method_class(read_json(model / "model.json")["method"]).load(model),
    )
    catalogue, num_known = prepared.items.select("item_id", "title"), prepared.items.height
    if new_items is not None:
        added = read_new_items(new_items, dataset, params, prepared)
        model = model.extended(
            text_states(added, params, folder(dataset, seed, "profile", "profile.json"))
        )
        catalogue = pl.concat([catalogue, added.select("item_id", "title")])
    given = np.unique([_place(catalogue["item_id"], item, "item") for item in items]).astype(
        np.int64
    )
    if user is not None:
        number = _place(prepared.users["user_id"], user, "user")
        has = np.union1d(prepared.seen.union(prepared.test).items_of(number), given)
        history = np.union1d(prepared.train.items_of(number), given)
    else:
        has = history = given

    def score(_: np.ndarray) -> np.ndarray:
        if user is not None and not given.size:
            return model.score(np.array([number]))
        ones = np.ones(history.size, np.float32)
        return model.score_histories(
            csr_array((ones, history, [0, history.size]), shape=(1, catalogue.height))
        )

    mask = Interactions(np.zeros_like(has), has, 1, catalogue.height)
    found, scores = rank_all(score, np.array([0]), k, mask)
    rows = zip(found[0].tolist(), scores[0].tolist(), strict=True)
    shown = [(catalogue.row(item, named=True), item, value) for item, value in rows if item >= 0]
    return [row | {"score": value, "new": item >= num_known} for row, item, value in shown]


def read_new_items(file: Path, dataset: str, params: Params, prepared: Prepared) -> pl.DataFrame:
    """Read items in the form of `tables`, by the column names of this dataset's entry or by the
    usual ones; texts may lack.

    Returns columns item, item_id, title, description, categories. Raises ValueError for an id that
    the dataset has.
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
            f"{file}: item {twice['item_id'][0]} is no new one, {dataset} has it; take it out of "
            "the file"
        )
    return found.with_row_index("item")


def text_states(items: pl.DataFrame, params: Params, profile: Path) -> np.ndarray:
    """Encode the texts of items as the stage `profile` does, (J, W).

    Raises ValueError for another language model than its.
    """
    from glta.features.text.item_texts import item_texts
    from glta.nn.language.frozen import load_language

    language, used = load_language(params.language), read_json(profile)["language"]
    if language.sha256 != used["sha256"]:
        raise ValueError(
            f"language.model = {language.name}: these models were made with {used['model']}, "
            "other weights"
        )
    return language.encode(
        item_texts(items, params.profile)["text"].to_list(), params.language.batch_tokens
    )


def _place(ids: pl.Series, wanted: str, what: str) -> int:
    place = ids.index_of(wanted)
    if place is None:
        raise ValueError(f"{what} {wanted}: unknown id{_nearest(wanted, ids)}")
    return place


def _nearest(wanted: str, valid) -> str:
    found = difflib.get_close_matches(wanted, list(valid), n=3, cutoff=0)
    return f"; nearest are {', '.join(found)}"
