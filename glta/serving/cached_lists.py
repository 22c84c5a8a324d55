"""Make and refresh the store of a trained model, for `glta cache`."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from glta.datasets.settings import TableSettings
from glta.evaluation.top_k_store import TopKStore
from glta.methods.shared.stored_lists import write_store
from glta.params.check import load_params
from glta.params.model import Params
from glta.serving.new_items import RENAME
from glta.serving.refresh import Refreshed, refresh
from glta.serving.served_model import ServedModel


def cache(
    method: str,
    dataset: str,
    k: int,
    seed: int = 0,
    *,
    with_test: bool = False,
    forget_refreshes: bool = False,
) -> TopKStore:
    """Write the best k items of every user.

    with_test: false: the lists are those of test time. true: they are those of
    `glta.serving.recommend.recommend`. Test items are not shown, and a method that reads items in
    order scores by them, too.
    forget_refreshes: replace a store that has new interactions, which the new one does not have.
    Raises ValueError for an unknown name, and for such a store otherwise; FileNotFoundError when
    the stages have not run.
    """
    served = ServedModel.of(method, dataset, seed)
    if not forget_refreshes:
        _refuse_refreshed(served.cell.store(method))
    settings = load_params().for_dataset(dataset).recommend
    histories = served.histories_to_score(settings, with_test=with_test)
    return write_store(
        served.with_histories(histories),
        served.prepared,
        served.cell.store(method),
        k,
        model=served.folder,
        method=method,
        dataset=dataset,
        seed=seed,
        fitted=served.fitted,
        histories=histories,
        masked="all" if with_test else "seen",
    )


def _refuse_refreshed(folder: Path) -> None:
    """Raise ValueError where the store in a folder has new interactions.

    A store that cannot be opened holds nothing that could be kept.
    """
    try:
        store = TopKStore.open(folder)
    except (FileNotFoundError, ValueError):
        return
    if count := len(store.about.refreshes):
        raise ValueError(
            f"{store.path}: has {store.added_item.size} new interactions (refreshes: {count}), "
            "which a new store does not have; bring later ones in with --new-interactions, or give "
            "--forget-refreshes, and then all files again that are not in the data by now"
        )


def refresh_cache(method: str, dataset: str, file: Path, seed: int = 0) -> Refreshed:
    """Add new interactions from a file to the store: see `glta.serving.refresh.refresh`.

    file: see `read_new_interactions`.
    """
    served = ServedModel.of(method, dataset, seed)
    params = load_params().for_dataset(dataset)
    folder = served.cell.store(method)
    about = TopKStore.open(folder).about
    return refresh(
        folder,
        served.with_histories(about.histories),
        served.prepared,
        read_new_interactions(file, dataset, params),
        model=served.folder,
        capabilities=served.capabilities,
    )


def read_new_interactions(file: Path, dataset: str, params: Params) -> pl.DataFrame:
    """Read interactions: columns user_id and item_id (text), oldest first, each pair once.

    The file has the form of the interactions' file of a dataset in `tables`. Its columns have the
    names of the dataset's entry there, or the default names. Only those of users and items must be
    there. Rows are put in order by their times, where the file has times, and else stay in the
    order of the file. Rows are dropped as the stage `prepare` drops them: the other rows of a pair
    (`prepare.duplicates`), and, where the file has ratings, those below `prepare.min_rating` and
    without a rating; a line on stderr counts these. Raises FileNotFoundError, and ValueError for
    rows that cannot be read.
    """
    from glta.data.prepare import deduplicate
    from glta.datasets.readers.own_tables import TableFile
    from glta.io.raw import Columns, check_interactions

    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    table = params.tables.get(dataset) or TableSettings(interactions="none")
    parameter = f"tables.{dataset}"
    # the separator and the header are those of the dataset's own file, and may differ here
    plain = table.model_copy(update={"separator": None, "header": None})
    advice = None if dataset in params.tables else RENAME
    source = TableFile(file, str(file), parameter, plain, advice=advice)
    min_rating = params.prepare.min_rating
    columns: Columns = {
        "user": table.user,
        "item": table.item,
        "rating": None if min_rating is None else table.rating,
        "timestamp": table.timestamp,
    }
    sheets = list(source.sheets(columns, needed=("user", "item")))
    columns = {role: name if name in sheets[0].columns else None for role, name in columns.items()}
    found = check_interactions(
        sheets,
        str(file),
        max_bad_share=params.prepare.max_bad_share,
        columns=columns,
        parameter=parameter,
        null_words=table.null_words,
        place=source.place,
    ).rows
    pairs = deduplicate(found.with_row_index("order"), params.prepare.duplicates)
    if columns["rating"] is not None:
        kept = pairs.filter(pl.col("rating") >= min_rating)
        if dropped := pairs.height - kept.height:
            print(
                f"{file}: {dropped} of {pairs.height} interactions are left out, as they are rated "
                f"below prepare.min_rating = {min_rating:g}, or not rated",
                file=sys.stderr,
            )
        pairs = kept
    ordered = pairs.sort("timestamp", maintain_order=True, nulls_last=False)
    return ordered.select("user_id", "item_id")
