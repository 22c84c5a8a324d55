"""From a folder of downloaded files to two plain tables, the same for every source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from glta.data.cells import read_csv, read_member, read_sheet
from glta.data.raw import Raw, interactions_of, items_of, join
from glta.data.registry import REGISTRY, table_files
from glta.params import Params, Table

# User tags (tags.csv, tags.dat) are left out on purpose: people tag the films that they have seen, so a tag of a film can be
# the trace of a test interaction, and would carry it into the film's text.
GENRES_100K = [
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
]
NO_GENRES = "(no genres listed)"


def read(dataset: str, params: Params, folder: Path) -> Raw:
    """Read a dataset's download folder with the reader of its format. Raises ValueError with file, line, column and fix."""
    share = params.prepare.max_bad_share
    if dataset in REGISTRY:
        return READERS[REGISTRY[dataset].reader](folder, dataset, share)
    if dataset not in params.tables:
        raise ValueError(f"{dataset}: is no registered dataset, nor one of tables in params.yaml; `glta datasets` lists all")
    return read_tables(folder, dataset, share, params.tables[dataset])


def read_tables(folder: Path, dataset: str, max_bad_share: float, table: Table) -> Raw:
    """Read CSV, CSV.gz or Parquet with the columns that `table` names."""
    names, key = table_files(table.interactions, table.items), f"tables.{dataset}"
    sheet = read_sheet(folder / names["interactions"])
    given = {k: getattr(table, k) for k in ("user", "item", "rating", "timestamp")}
    interactions = interactions_of(sheet, names["interactions"], max_bad_share, given, key)
    if "items" not in names:
        return join(interactions, None, names["interactions"], key)
    sheet = read_sheet(folder / names["items"])
    given = {k: getattr(table, k) for k in ("item", "title", "description", "categories")}
    items = items_of(sheet, names["items"], max_bad_share, given, key, table.category_separator)
    return join(interactions, items, names["items"], key)


def read_sample(folder: Path, dataset: str, max_bad_share: float) -> Raw:
    """Read the generated dataset, whose files have the default columns."""
    return read_tables(folder, dataset, max_bad_share, Table(interactions="interactions.csv.gz", items="items.csv.gz"))


def read_movielens_csv(folder: Path, dataset: str, max_bad_share: float) -> Raw:
    """Read ml-latest-small, ml-20m, ml-25m, ml-32m: comma-separated with a header, UTF-8."""
    archive = folder / REGISTRY[dataset].file
    ratings, movies = (f"{dataset}/{part}.csv" for part in ("ratings", "movies"))
    return _movielens(archive, ratings, movies, max_bad_share, lambda member: read_csv(read_member(archive, member), member))


def read_movielens_1m(folder: Path, dataset: str, max_bad_share: float) -> Raw:
    """Read ml-1m: `::` between cells, no header, Latin-1."""
    return _movielens_dat(folder / REGISTRY[dataset].file, "ml-1m", max_bad_share, "latin-1")


def read_movielens_10m(folder: Path, dataset: str, max_bad_share: float) -> Raw:
    """Read ml-10m: `::` between cells, no header, UTF-8. Its archive names its folder ml-10M100K."""
    return _movielens_dat(folder / REGISTRY[dataset].file, "ml-10M100K", max_bad_share, "utf-8")


def read_movielens_100k(folder: Path, dataset: str, max_bad_share: float) -> Raw:
    """Read ml-100k: u.data with tabs, u.item with bars, Latin-1, and one column of 0 or 1 per genre."""
    archive = folder / REGISTRY[dataset].file

    def sheet(member: str) -> pl.DataFrame:
        content = read_member(archive, member)
        if member.endswith("u.data"):
            return read_csv(content, member, ["userId", "movieId", "rating", "timestamp"], "\t", None)
        columns = ["movieId", "title", "release", "video", "imdb", *GENRES_100K]
        cells = read_csv(_utf8(content, "latin-1"), member, columns, "|", None)
        genres = [pl.when(pl.col(g) == "1").then(pl.lit(g)) for g in GENRES_100K[1:]]
        return cells.with_columns(pl.concat_str(genres, separator="|", ignore_nulls=True).alias("genres"))

    return _movielens(archive, "ml-100k/u.data", "ml-100k/u.item", max_bad_share, sheet)


def _movielens_dat(archive: Path, root: str, max_bad_share: float, encoding: str) -> Raw:
    def sheet(member: str) -> pl.DataFrame:
        columns = ["movieId", "title", "genres"] if "movies" in member else ["userId", "movieId", "rating", "timestamp"]
        # CSV readers want a separator of one byte; the unit separator occurs in no title.
        return read_csv(_utf8(read_member(archive, member), encoding).replace(b"::", b"\x1f"), member, columns, "\x1f", None)

    return _movielens(archive, f"{root}/ratings.dat", f"{root}/movies.dat", max_bad_share, sheet)


def _movielens(archive: Path, ratings: str, movies: str, share: float, sheet: Callable[[str], pl.DataFrame]) -> Raw:
    named = {"user": "userId", "item": "movieId", "rating": "rating", "timestamp": "timestamp"}
    interactions = interactions_of(sheet(ratings), ratings, share, named, archive.name)
    named = {"item": "movieId", "title": "title", "description": None, "categories": "genres"}
    films = sheet(movies)
    if "genres" in films.columns:
        films = films.with_columns(pl.col("genres").replace(NO_GENRES, None))
    return join(interactions, items_of(films, movies, share, named, archive.name, "|"), movies, archive.name)


def _utf8(content: bytes, encoding: str) -> bytes:
    return content if encoding == "utf-8" else content.decode(encoding).encode()


READERS: dict[str, Callable[[Path, str, float], Raw]] = {
    "sample": read_sample,
    "movielens_csv": read_movielens_csv,
    "movielens_100k": read_movielens_100k,
    "movielens_1m": read_movielens_1m,
    "movielens_10m": read_movielens_10m,
}
