"""Every official format on a tiny scale, written as its owner does.

Each has the same two users, two items and three interactions.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

Files = dict[str, bytes]


class TinyDataset(NamedTuple):
    """Hold the files of one format, and what is read from them.

    texts: the unpacked files, by the name that errors give them. pack: writes them as the owner
    packs them. log, catalogue: names of the files of interactions and of items. first: the first
    row of interactions. items: all items.
    """

    dataset: str
    texts: Files
    pack: Callable[[Path, Files], None]
    log: str
    catalogue: str
    first: tuple
    items: list[tuple]

    def write(self, folder: Path, **changed: bytes) -> Path:
        """Write the files into a folder. changed: other texts for `log` or `catalogue`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.pack(
            folder, self.texts | {getattr(self, role): content for role, content in changed.items()}
        )
        return folder


def packed(folder: Path, texts: Files) -> None:
    for name, content in texts.items():
        (folder / name).write_bytes(gzip.compress(content))


def plain(folder: Path, texts: Files) -> None:
    for name, content in texts.items():
        (folder / name).write_bytes(content)


def zipped(archive: str) -> Callable[[Path, Files], None]:
    def pack(folder: Path, texts: Files) -> None:
        with zipfile.ZipFile(folder / archive, "w", zipfile.ZIP_DEFLATED) as opened:
            for name, content in texts.items():
                opened.writestr(name, content)

    return pack


def yelp_archive(folder: Path, texts: Files) -> None:
    """Write a zip with a tar that is packed with gzip, though its name does not say so."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as opened:
        for name, content in {"Dataset_User_Agreement.pdf": b"%PDF", **texts}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
    zipped("Yelp-JSON.zip")(
        folder,
        {
            "__MACOSX/Yelp JSON/._yelp_dataset.tar": b"x",
            "Yelp JSON/yelp_dataset.tar": tar.getvalue(),
        },
    )


def json_lines(*records: dict) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def literal_lines(*records: dict, prefix: str = "") -> bytes:
    return "".join(prefix + repr(record) + "\n" for record in records).encode()


TITLES = ("American President, The (1995)", "Amélie (2001)")
FILMS = [("10", TITLES[0], "", ["Comedy", "Drama"]), ("20", TITLES[1], "", [])]
RATINGS_DAT = b"1::10::5::978300760\n2::10::3::978302109\n2::20::4::978301968\n"
RATINGS_CSV = b"userId,movieId,rating,timestamp\r\n1,10,4.0,964982703\r\n2,10,0.5,964981247\r\n2,20,3.5,964982224\r\n"
MOVIES_CSV = b'movieId,title,genres\r\n10,"American President, The (1995)",Comedy|Drama\r\n' + (
    "20,Amélie (2001),(no genres listed)\r\n".encode()
)


def movielens(
    name: str, root: str, log: str, ratings: bytes, catalogue: str, movies: bytes, first: tuple
) -> TinyDataset:
    texts = {
        f"{root}/{log}": ratings,
        f"{root}/{catalogue}": movies,
        f"{root}/tags.csv": b"userId,tag\n1,secret\n",
    }
    return TinyDataset(
        name, texts, zipped(f"{name}.zip"), f"{root}/{log}", f"{root}/{catalogue}", first, FILMS
    )


def movielens_csv(name: str) -> TinyDataset:
    return movielens(
        name,
        name,
        "ratings.csv",
        RATINGS_CSV,
        "movies.csv",
        MOVIES_CSV,
        ("1", "10", 4.0, 964982703),
    )


def amazon(
    name: str, log: str, reviews: bytes, catalogue: str, products: bytes, first: tuple
) -> TinyDataset:
    items = [("B01", "Tea & Cups", "Green tea. Loose.", ["Grocery", "Tea"]), ("B02", "B02", "", [])]
    return TinyDataset(
        name, {log: reviews, catalogue: products}, packed, log, catalogue, first, items
    )


def review_2018(user: str, item: str, stars: float, time: int) -> dict:
    review = {
        "overall": stars,
        "verified": True,
        "reviewTime": "09 1, 2016",
        "reviewerID": user,
        "asin": item,
    }
    return review | {
        "style": {"Size:": " 2"},
        "reviewText": 'He said \\"asin\\": no',
        "summary": "ok",
        "unixReviewTime": time,
    }


def review_2014(user: str, item: str, stars: float, time: int) -> dict:
    review = {
        "reviewerID": user,
        "asin": item,
        "reviewerName": "A",
        "helpful": [0, 0],
        "reviewText": "Nice.",
        "overall": stars,
    }
    return review | {"summary": "ok", "unixReviewTime": time, "reviewTime": "04 19, 2013"}


def review_2023(user: str, item: str, stars: float, time: int) -> dict:
    review = {
        "rating": stars,
        "title": "Ok",
        "text": "Nice.",
        "images": [],
        "asin": "B09",
        "parent_asin": item,
        "user_id": user,
    }
    return review | {"timestamp": time, "helpful_vote": 0, "verified_purchase": True}


def product_2018(item: str, **given) -> dict:
    empty = {
        "category": [],
        "tech1": "",
        "description": [],
        "fit": "",
        "title": "",
        "also_buy": ["B77"],
        "feature": [],
        "rank": [],
    }
    return {**empty, "details": {"title": "inner"}, "asin": item, **given}


def product_2023(item: str, **given) -> dict:
    empty = {
        "main_category": "Grocery",
        "title": "",
        "average_rating": 4.5,
        "rating_number": 3,
        "features": [],
        "description": [],
    }
    return {
        **empty,
        "price": None,
        "categories": [],
        "details": {"title": "inner"},
        "parent_asin": item,
        **given,
    }


TEXT = {"title": "Tea &amp; Cups", "description": ["Green tea.", "Loose."]}
PAIRS = (("U1", "B01"), ("U2", "B01"), ("U2", "B02"))


def shelved(user: str, book: str, rating: int) -> dict:
    record = {
        "user_id": user,
        "book_id": book,
        "review_id": "r",
        "is_read": rating > 0,
        "rating": rating,
    }
    record |= {"review_text_incomplete": "", "date_added": "Fri Apr 19 08:15:15 -0700 2013"}
    return record | {
        "date_updated": "Fri Apr 19 08:15:15 -0700 2013",
        "read_at": "",
        "started_at": "",
    }


def book(number: str, title: str, description: str) -> dict:
    shelves = [{"count": "9", "name": "to-read"}]
    return {
        "isbn": "",
        "popular_shelves": shelves,
        "description": description,
        "book_id": number,
        "title": title,
        "work_id": "7",
    }


def goodbooks(
    name: str, number: str, goodreads: str, pack: Callable, ratings: bytes
) -> TinyDataset:
    texts = {
        "ratings.csv": ratings,
        "books.csv": f'{number},{goodreads},authors,title\n1,901,Suzanne Collins,"Games, '
        'The"\n2,902,Jane,Emma\n'.encode(),
        "book_tags.csv": b"goodreads_book_id,tag_id,count\n901,7,9\n901,8,500\n901,9,20\n",
        "tags.csv": b"tag_id,tag_name\n7,war\n8,to-read\n9,fantasy\n",
    }
    items = [("1", "Games, The", "Suzanne Collins", ["fantasy", "war"]), ("2", "Emma", "Jane", [])]
    return TinyDataset(name, texts, pack, "ratings.csv", "books.csv", ("1", "1", 5.0, None), items)


def yelp_review(user: str, business: str, stars: float) -> dict:
    record = {
        "review_id": "r",
        "user_id": user,
        "business_id": business,
        "stars": stars,
        "useful": 0,
        "text": "Good",
    }
    return record | {"date": "2018-07-07 22:09:11"}


def rlmrec(
    name: str, field: str, catalogue: str, items: bytes, pack: Callable, expected: list[tuple]
) -> TinyDataset:
    """Return a dataset of RLMRec: lists and map as they are, the catalogue as its owner packs it."""
    mapper = f"{name}_item.json"
    texts = {"train.txt": b"0 0\n1\n", "valid.txt": b"1 0\n", "test.txt": b"1 1\n"}
    texts |= {
        mapper: json_lines({"iid": 0, field: "x0"}, {"iid": 1, field: "x1"}),
        catalogue: items,
    }

    def write(folder: Path, files: Files) -> None:
        plain(folder, {file: content for file, content in files.items() if file != catalogue})
        pack(folder, {catalogue: files[catalogue]})

    return TinyDataset(
        f"split-rlmrec-{name}",
        texts,
        write,
        "train.txt",
        catalogue,
        ("0", "0", None, None),
        expected,
    )


TINY_DATASETS = [
    *map(movielens_csv, ("ml-latest-small", "ml-20m", "ml-25m", "ml-32m")),
    movielens(
        "ml-1m",
        "ml-1m",
        "ratings.dat",
        RATINGS_DAT,
        "movies.dat",
        f"10::{TITLES[0]}::Comedy|Drama\n20::{TITLES[1]}::\n".encode("latin-1"),
        ("1", "10", 5.0, 978300760),
    ),
    movielens(
        "ml-10m",
        "ml-10M100K",
        "ratings.dat",
        RATINGS_DAT.replace(b"::5::", b"::4.5::"),
        "movies.dat",
        f"10::{TITLES[0]}::Comedy|Drama\n20::{TITLES[1]}::(no genres listed)\n".encode(),
        ("1", "10", 4.5, 978300760),
    ),
    movielens(
        "ml-100k",
        "ml-100k",
        "u.data",
        b"1\t10\t5\t881250949\n2\t10\t3\t891717742\n2\t20\t4\t878887116\n",
        "u.item",
        (
            f"10|{TITLES[0]}|01-Jan-1995||http://x?American%20(1995)|0|0|0|0|0|1|0|0|1|0|0|0|0|0|0|0|0|0|0\n"
            f"20|{TITLES[1]}|||http://x|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
        ).encode("latin-1"),
        ("1", "10", 5.0, 881250949),
    ),
    amazon(
        "amazon-2014-beauty",
        "reviews_Beauty_5.json.gz",
        json_lines(*(review_2014(*pair, 5.0, 1366329600) for pair in PAIRS)),
        "meta_Beauty.json.gz",
        literal_lines(
            {
                "asin": "B01",
                "categories": [["Grocery", "Tea"]],
                "description": "Green tea. Loose.",
                "title": "Tea &amp; Cups",
            },
            {
                "asin": "B99",
                "title": "It's \"nobody's\"",
                "related": {"also_viewed": ["B01"]},
                "price": 5.35,
            },
        ),
        ("U1", "B01", 5.0, 1366329600),
    ),
    amazon(
        "amazon-2018-grocery-and-gourmet-food",
        "Grocery_and_Gourmet_Food_5.json.gz",
        json_lines(*(review_2018(*pair, 4.0, 1472688000) for pair in PAIRS)),
        "meta_Grocery_and_Gourmet_Food.json.gz",
        json_lines(
            product_2018("B01", category=["Grocery", "Tea"], **TEXT),
            product_2018("B99"),
            product_2018("B02", title="var aPageStart = (new Date()).getTime();"),
            product_2018("B01", title="again"),
        ),
        ("U1", "B01", 4.0, 1472688000),
    ),
    amazon(
        "amazon-2023-all-beauty",
        "All_Beauty.jsonl.gz",
        json_lines(*(review_2023(*pair, 5.0, 1588687728923) for pair in PAIRS)),
        "meta_All_Beauty.jsonl.gz",
        json_lines(
            product_2023("B01", categories=["Grocery", "Tea"], **TEXT),
            product_2023("B02"),
            product_2023("B99"),
        ),
        ("U1", "B01", 5.0, 1588687728923),
    ),
    TinyDataset(
        "goodreads-poetry",
        {
            "goodreads_interactions_poetry.json.gz": json_lines(
                shelved("u1", "10", 4), shelved("u2", "10", 0), shelved("u2", "20", 5)
            ),
            "goodreads_books_poetry.json.gz": json_lines(
                book("10", "Cats", "Old verses"), book("20", "Émile", ""), book("30", "", "")
            ),
            "goodreads_book_genres_initial.json.gz": json_lines(
                {"book_id": "10", "genres": {"poetry": 54, "fantasy, paranormal": 2}},
                {"book_id": "30", "genres": {"romance": 1}},
            ),
        },
        packed,
        "goodreads_interactions_poetry.json.gz",
        "goodreads_books_poetry.json.gz",
        ("u1", "10", 4.0, 1366384515),
        [("10", "Cats", "Old verses", ["poetry", "fantasy, paranormal"]), ("20", "Émile", "", [])],
    ),
    goodbooks(
        "goodbooks-v1",
        "id",
        "book_id",
        zipped("goodbooks-10k.zip"),
        b"book_id,user_id,rating\n1,1,5\n1,2,3\n2,2,4\n",
    ),
    goodbooks(
        "goodbooks-v2",
        "book_id",
        "goodreads_book_id",
        plain,
        b"user_id,book_id,rating\n1,1,5\n2,1,3\n2,2,4\n",
    ),
    TinyDataset(
        "steam",
        {
            "steam_reviews.json.gz": literal_lines(
                {
                    "hours": 0.2,
                    "username": "Zoë",
                    "product_id": "10",
                    "date": "2017-12-17",
                    "early_access": False,
                    "text": "it's",
                },
                {
                    "username": "max",
                    "product_id": "10",
                    "date": "2017-12-17",
                    "text": "\ud83d\ude00",
                },
                {"username": "max", "product_id": "20", "date": "2017-12-18"},
            ),
            "steam_games.json.gz": literal_lines(
                {
                    "genres": ["Indie"],
                    "app_name": "Bravium",
                    "title": "Bravium",
                    "tags": ["Indie", "RPG"],
                    "id": "10",
                },
                {"app_name": "Kitty \ud83d\ude00", "id": "20"},
                {"url": "http://x"},
            ),
        },
        packed,
        "steam_reviews.json.gz",
        "steam_games.json.gz",
        ("Zoë", "10", None, 1513468800),
        [("10", "Bravium", "", ["Indie", "RPG"]), ("20", "Kitty 😀", "", [])],
    ),
    TinyDataset(
        "yelp",
        {
            "yelp_academic_dataset_business.json": json_lines(
                {
                    "business_id": "b1",
                    "name": "Cafe",
                    "stars": 4.5,
                    "attributes": None,
                    "categories": "Coffee & Tea, Food",
                },
                {
                    "business_id": "b2",
                    "name": "Bar",
                    "stars": 3.0,
                    "attributes": {"name": "x"},
                    "categories": None,
                },
                {"business_id": "b3", "name": "Nowhere", "categories": None},
            ),
            "yelp_academic_dataset_review.json": json_lines(
                yelp_review("u1", "b1", 5.0),
                yelp_review("u2", "b1", 1.0),
                yelp_review("u2", "b2", 3.0),
            ),
        },
        yelp_archive,
        "yelp_academic_dataset_review.json",
        "yelp_academic_dataset_business.json",
        ("u1", "b1", 5.0, 1531001351),
        [("b1", "Cafe", "", ["Coffee & Tea", "Food"]), ("b2", "Bar", "", [])],
    ),
    TinyDataset(
        "split-gowalla",
        {"train.txt": b"0 0\n1 0\n2\n", "test.txt": b"0 \n1 1\n"},
        plain,
        "train.txt",
        "test.txt",
        ("0", "0", None, None),
        [("0", "0", "", []), ("1", "1", "", [])],
    ),
    rlmrec(
        "amazon",
        "asin",
        "meta_Books.json.gz",
        literal_lines(
            {"asin": "x1", "title": "Emma"}, {"asin": "x9", "description": "no", "categories": []}
        ),
        packed,
        [("0", "0", "", []), ("1", "Emma", "", [])],
    ),
    rlmrec(
        "steam",
        "product_id",
        "steam_games.json.gz",
        literal_lines(
            {"id": "x0", "app_name": "Go", "genres": ["Board"]},
            {"id": "x1", "title": "Chess", "tags": ["Board"]},
        ),
        packed,
        [("0", "Go", "", ["Board"]), ("1", "Chess", "", ["Board"])],
    ),
    rlmrec(
        "yelp",
        "business_id",
        "yelp_academic_dataset_business.json",
        json_lines(
            {"business_id": "x0", "name": "Bar", "categories": "A, B"},
            {"business_id": "x1", "name": "Inn", "categories": None},
        ),
        yelp_archive,
        [("0", "Bar", "", ["A", "B"]), ("1", "Inn", "", [])],
    ),
]
