"""Define `glta bundle`: answers from a bundle, in any folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import Json, group, print_json

if TYPE_CHECKING:
    from glta.serving.answers import Answers

bundle_app = group("Use a bundle, which `glta export` writes. No project is needed.")

Folder = Annotated[Path, typer.Argument(help="folder of the bundle", metavar="BUNDLE")]
Length = Annotated[int, typer.Option("-k", min=1, help="length of the list")]
Only = Annotated[str, typer.Option(help="ids of the items that may be shown: ID,ID,...")]
Without = Annotated[str, typer.Option(help="ids of items to leave out: ID,ID,...")]


def ids_of(text: str) -> list[str]:
    """Return the ids of an option: ID,ID,..."""
    return [one.strip() for one in text.split(",") if one.strip()]


@bundle_app.command("recommend")
def recommend(
    bundle: Folder,
    user: Annotated[str | None, typer.Option(help="id of a user of the data")] = None,
    items: Annotated[str, typer.Option(help="ids of what the user has: ID,ID,...")] = "",
    new_items: Annotated[
        Path | None,
        typer.Option(
            help="file of new items, CSV, JSON lines or Parquet: item_id, title, description, "
            "categories"
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(help="for --new-items: the language model's folder, if it is another here"),
    ] = None,
    only: Only = "",
    without: Without = "",
    reasons: Annotated[
        int, typer.Option(min=0, help="items of the user, at most, that each item is shown for")
    ] = 0,
    k: Length = 10,
    as_json: Json = False,
) -> None:
    """Recommend items to a user of the data, or to anybody by a list of items.

    Of a user and items together, the items are newer than what the user has.
    """
    from glta.serving.bundle import load
    from glta.serving.new_items import read_new_items

    loaded = load(bundle)
    answers: Answers = loaded
    if new_items is not None:
        known = loaded.served.prepared.items["item_id"]
        added = read_new_items(new_items, known, dataset=str(bundle))
        answers = loaded.accept(added, language=language)
    given = ids_of(items)
    if user is None and not given:
        raise ValueError(
            "neither items nor a user: name items with --items ID,ID,... or a user with --user ID"
        )
    filters: dict[str, Any] = {"only": ids_of(only) or None, "without": ids_of(without)}
    make = answers.compute if given else answers.recommend
    if user is not None:
        answers.refuse_unknown_user(user)
    found = make(user, given, k, **filters)
    because = answers.reasons(user, given, found.items, reasons) if reasons else []
    _print(answers, found, because, as_json)


@bundle_app.command("similar")
def similar(
    bundle: Folder,
    item: Annotated[str, typer.Argument(help="id of an item", metavar="ITEM")],
    only: Only = "",
    without: Without = "",
    k: Length = 10,
    as_json: Json = False,
) -> None:
    """List the items that are recommended to somebody who has one item alone."""
    from glta.serving.bundle import load

    answers = load(bundle)
    found = answers.similar(item, k, only=ids_of(only) or None, without=ids_of(without))
    _print(answers, found, [], as_json)


@bundle_app.command("batch")
def batch(
    bundle: Folder,
    users: Annotated[
        Path,
        typer.Argument(
            help="Parquet file: user_id, and perhaps items (list of ids) for users by their items",
            metavar="USERS",
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Parquet file to write", metavar="OUT")],
    only: Only = "",
    without: Without = "",
    block: Annotated[int, typer.Option(min=1, help="users of a block")] = 1000,
    k: Length = 10,
) -> None:
    """Recommend items to all users of a file: user_id, rank, item_id, score, way.

    After an interruption, the same command goes on with the next block.
    """
    from glta.serving.batch import recommend_to_file
    from glta.serving.bundle import load

    done = recommend_to_file(
        load(bundle), users, out, k, only=ids_of(only) or None, without=ids_of(without), block=block
    )
    typer.echo(f"{out}: {done} users, up to {k} items each")


def _print(answers: Answers, found: Any, because: list[list[str]], as_json: bool) -> None:
    """Print a list with titles, and what each item is recommended for."""
    titles = answers.titles(found.items)
    rows = [
        {"item_id": item, "title": title, "score": score, "way": found.way}
        for item, title, score in zip(found.items, titles, found.scores, strict=True)
    ]
    for row, ids in zip(rows, because, strict=False):
        row["because"] = ids
    if as_json:
        print_json(rows)
        return
    width = max((len(row["item_id"]) for row in rows), default=0)
    for rank, row in enumerate(rows, 1):
        typer.echo(f"{rank:3}  {row['item_id']:{width}}  {row['score']:8.3f}  {row['title']}")
        if row.get("because"):
            names = ", ".join(answers.titles(row["because"]))
            typer.echo(f"{'':{width + 17}}because of {names}")
