"""MovieLens: three formats, each one zip archive with a file of ratings and one of films.

User tags (tags.csv, tags.dat) are left out on purpose. People tag the films that they have seen, so
a tag can be the trace of a test interaction, and would carry it into the film's text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.raw import Raw, check_interactions, check_items, join_items
from glta.io.sheets import read_csv
from glta.io.streams import blocks

GENRES_100K = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]
NO_GENRES = "(no genres listed)"
RATING_COLUMNS = ["userId", "movieId", "rating", "timestamp"]


def read_csv_archive(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read ml-latest-small, ml-20m, ml-25m or ml-32m: CSV with a header, in UTF-8."""
    archive = folder / dataset.file.name

    def sheets(member: str) -> Iterator[pl.DataFrame]:
        return read_csv(blocks(archive, member, quote=b'"'), member)

    root = archive.stem
    return _read_films(sheets, f"{root}/ratings.csv", f"{root}/movies.csv", max_bad_share)


def read_1m(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read ml-1m: `::` between cells, no header, Latin-1."""
    return _read_dat(folder / dataset.file.name, "ml-1m", max_bad_share, encoding="latin-1")


def read_10m(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read ml-10m: `::` between cells, no header, UTF-8.

    The folder within the archive is named ml-10M100K.
    """
    return _read_dat(folder / dataset.file.name, "ml-10M100K", max_bad_share, encoding="utf-8")


def read_100k(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read ml-100k: ratings with tabs between cells, films with bars, Latin-1.

    u.item has one column of 0 or 1 for each genre.
    """
    archive = folder / dataset.file.name

    def sheets(member: str) -> Iterator[pl.DataFrame]:
        if member.endswith("u.data"):
            return read_csv(
                blocks(archive, member),
                member,
                columns=RATING_COLUMNS,
                separator="\t",
                quote=None,
            )
        films = read_csv(
            blocks(archive, member),
            member,
            columns=["movieId", "title", "release", "video", "imdb", *GENRES_100K],
            separator="|",
            quote=None,
            recode=lambda block: _to_utf8(block, "latin-1"),
        )
        named = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES_100K[1:]]
        genres = pl.concat_str(named, separator="|", ignore_nulls=True).alias("genres")
        return (film.with_columns(genres) for film in films)

    return _read_films(sheets, "ml-100k/u.data", "ml-100k/u.item", max_bad_share)


def _read_dat(archive: Path, root: str, max_bad_share: float, *, encoding: str) -> Raw:
    """Read an archive of .dat files. root: the folder within it."""
    movies = f"{root}/movies.dat"

    def recode(block: bytes) -> bytes:
        # A CSV reader wants a separator of one byte. The unit separator occurs in no title.
        return _to_utf8(block, encoding).replace(b"::", b"\x1f")

    def sheets(member: str) -> Iterator[pl.DataFrame]:
        return read_csv(
            blocks(archive, member),
            member,
            columns=["movieId", "title", "genres"] if member == movies else RATING_COLUMNS,
            separator="\x1f",
            quote=None,
            recode=recode,
        )

    return _read_films(sheets, f"{root}/ratings.dat", movies, max_bad_share)


def _read_films(
    sheets: Callable[[str], Iterator[pl.DataFrame]],
    ratings: str,
    movies: str,
    max_bad_share: float,
) -> Raw:
    """Read both tables. sheets: reads a member of the archive. ratings, movies: the members."""
    interactions = check_interactions(
        sheets(ratings),
        ratings,
        max_bad_share=max_bad_share,
        columns={
            "user": "userId",
            "item": "movieId",
            "rating": "rating",
            "timestamp": "timestamp",
        },
    )
    items = check_items(
        map(_without_placeholder, sheets(movies)),
        movies,
        max_bad_share=max_bad_share,
        columns={
            "item": "movieId",
            "title": "title",
            "description": None,
            "categories": "genres",
        },
    )
    return join_items(interactions, items, movies)


def _without_placeholder(films: pl.DataFrame) -> pl.DataFrame:
    """Empty the cells of genres that say that there are none."""
    if "genres" not in films.columns:  # an error later on names the missing column
        return films
    return films.with_columns(pl.col("genres").replace(NO_GENRES, None))


def _to_utf8(content: bytes, encoding: str) -> bytes:
    return content if encoding == "utf-8" else content.decode(encoding).encode()
