"""MovieLens 100K to 32M, within the zip archives of GroupLens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from glta.datasets.catalogue import Dataset
from glta.io.cells import read_csv
from glta.io.raw import Raw, interactions_of, items_of, join
from glta.io.streams import blocks

# User tags (tags.csv, tags.dat) are left out on purpose: people tag the films that they have seen,
# so a tag of a film can be
# the trace of a test interaction, and would carry it into the film's text.
GENRES_100K = [
    *(
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
    ),
    *(
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
]
NO_GENRES = "(no genres listed)"


def read_csv_archive(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read ml-latest-small, ml-20m, ml-25m, ml-32m: comma-separated with a header, UTF-8."""
    archive = folder / dataset.file.name
    ratings, movies = (f"{archive.stem}/{part}.csv" for part in ("ratings", "movies"))
    return _read(
        archive,
        ratings,
        movies,
        max_bad_share,
        lambda member: read_csv(blocks(archive, member, quote=b'"'), member),
    )


def read_1m(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read ml-1m: `::` between cells, no header, Latin-1."""
    return _read_dat(folder / dataset.file.name, "ml-1m", max_bad_share, "latin-1")


def read_10m(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read ml-10m: `::` between cells, no header, UTF-8.

    Its archive names its folder ml-10M100K.
    """
    return _read_dat(folder / dataset.file.name, "ml-10M100K", max_bad_share, "utf-8")


def read_100k(folder: Path, dataset: Dataset, max_bad_share: float) -> Raw:
    """Read ml-100k: u.data with tabs, u.item with bars, Latin-1, and one column of 0 or 1 per
    genre.
    """
    archive = folder / dataset.file.name

    def sheets(member: str) -> Iterator[pl.DataFrame]:
        if member.endswith("u.data"):
            return read_csv(
                blocks(archive, member),
                member,
                ["userId", "movieId", "rating", "timestamp"],
                "\t",
                None,
            )
        columns = ["movieId", "title", "release", "video", "imdb", *GENRES_100K]
        genres = [pl.when(pl.col(g) == "1").then(pl.lit(g)) for g in GENRES_100K[1:]]
        joined = pl.concat_str(genres, separator="|", ignore_nulls=True).alias("genres")
        films = read_csv(
            blocks(archive, member),
            member,
            columns,
            "|",
            None,
            lambda block: _utf8(block, "latin-1"),
        )
        return (sheet.with_columns(joined) for sheet in films)

    return _read(archive, "ml-100k/u.data", "ml-100k/u.item", max_bad_share, sheets)


def _read_dat(archive: Path, root: str, max_bad_share: float, encoding: str) -> Raw:
    def sheets(member: str) -> Iterator[pl.DataFrame]:
        columns = (
            ["movieId", "title", "genres"]
            if "movies" in member
            else ["userId", "movieId", "rating", "timestamp"]
        )
        # CSV readers want a separator of one byte; the unit separator occurs in no title.
        recode = lambda block: _utf8(block, encoding).replace(b"::", b"\x1f")  # noqa: E731
        return read_csv(blocks(archive, member), member, columns, "\x1f", None, recode)

    return _read(archive, f"{root}/ratings.dat", f"{root}/movies.dat", max_bad_share, sheets)


def _read(
    archive: Path,
    ratings: str,
    movies: str,
    share: float,
    sheets: Callable[[str], Iterator[pl.DataFrame]],
) -> Raw:
    named = {"user": "userId", "item": "movieId", "rating": "rating", "timestamp": "timestamp"}
    interactions = interactions_of(sheets(ratings), ratings, share, named)
    named = {"item": "movieId", "title": "title", "description": None, "categories": "genres"}
    with_genres = pl.col("genres").replace(NO_GENRES, None)
    films = (
        film.with_columns(with_genres) if "genres" in film.columns else film
        for film in sheets(movies)
    )
    return join(interactions, items_of(films, movies, share, named), movies)


def _utf8(content: bytes, encoding: str) -> bytes:
    return content if encoding == "utf-8" else content.decode(encoding).encode()
