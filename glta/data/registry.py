"""The datasets that have a name: where they come from, what they must hash to, and what their owners ask for."""

from __future__ import annotations

from typing import NamedTuple

MOVIELENS = "https://files.grouplens.org/datasets/movielens/"
MOVIELENS_LICENCE = (
    "GroupLens, University of Minnesota: research use; no commercial use without permission; "
    "acknowledge GroupLens in publications; see the README within the archive"
)
HARPER = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872"
)


class Dataset(NamedTuple):
    """Describe one dataset.

    reader: a name of `glta.data.readers.READERS`. address: http address of the file, empty for the generated one.
    checksum: `sha256:...` or `md5:...` as its owner publishes it. size_bytes: of that file, None where unknown.
    """

    name: str
    reader: str
    about: str
    address: str = ""
    checksum: str = ""
    size_bytes: int | None = None
    licence: str = MOVIELENS_LICENCE
    citation: str = HARPER
    homepage: str = "https://grouplens.org/datasets/movielens/"
    synthetic: bool = False

    @property
    def file(self) -> str:
        """Name of the file, also below a mirror: <mirror>/<name>/<file>."""
        return self.address.rpartition("/")[2]


def _movielens(name: str, reader: str, about: str, checksum: str, size_bytes: int | None = None, **more: str) -> Dataset:
    return Dataset(name, reader, about, f"{MOVIELENS}{name}.zip", checksum, size_bytes, **more)


REGISTRY: dict[str, Dataset] = {
    d.name: d
    for d in (
        Dataset(
            "sample",
            "sample",
            "synthetic bookshop: 800 users, 600 books, about 25,000 ratings; made here in a second, needs no network",
            licence="CC0 1.0: made by this program, no rights reserved",
            citation="",
            homepage="",
            synthetic=True,
        ),
        _movielens(
            "ml-latest-small",
            "movielens_csv",
            "610 users, 9,724 films, 100,836 ratings (2018)",
            "sha256:696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
            978_202,
            homepage="https://grouplens.org/datasets/movielens/latest/",
        ),
        _movielens(
            "ml-100k",
            "movielens_100k",
            "943 users, 1,682 films, 100,000 ratings (1998)",
            "sha256:50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        ),
        _movielens(
            "ml-1m",
            "movielens_1m",
            "6,040 users, 3,706 rated films, 1,000,209 ratings (2003)",
            "sha256:a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        ),
        _movielens(
            "ml-10m",
            "movielens_10m",
            "69,878 users, 10,677 rated films, 10,000,054 ratings (2009)",
            "md5:ce571fd55effeba0271552578f2648bd",
            65_566_137,
        ),
        _movielens(
            "ml-20m",
            "movielens_csv",
            "138,493 users, 26,744 rated films, 20,000,263 ratings (2015)",
            "md5:cd245b17a1ae2cc31bb14903e1204af3",
            198_702_078,
        ),
        _movielens(
            "ml-25m",
            "movielens_csv",
            "162,541 users, 59,047 rated films, 25,000,095 ratings (2019)",
            "md5:6b51fb2759a8657d3bfcbfc42b592ada",
            261_978_986,
        ),
        _movielens(
            "ml-32m",
            "movielens_csv",
            "200,948 users, 84,432 rated films, 32,000,204 ratings (2024)",
            "sha256:e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee",
            238_950_008,
            homepage="https://grouplens.org/datasets/movielens/32m/",
        ),
    )
}


def table_files(interactions: str, items: str | None) -> dict[str, str]:
    """Name the files of a user's own dataset in its download folder: {"interactions": name, "items": name}.

    They keep their names; where both have the same, the items' file gets a prefix.
    """
    names = {"interactions": interactions.replace("\\", "/").rpartition("/")[2]}
    if items is not None:
        name = items.replace("\\", "/").rpartition("/")[2]
        names["items"] = f"items-{name}" if name == names["interactions"] else name
    return names
