"""The datasets that have a name: where they come from, what they must hash to, and what their
owners ask for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from glta.datasets.presets import PRESETS


class File(NamedTuple):
    """Describe one file of a dataset.

    address: http address; a bare name where the owner hands the file out only after its terms are
    accepted, or in another form. checksum: `sha256:...` or `md5:...` as the owner publishes it;
    empty: recorded at the first download, see `glta.datasets.download`. size_bytes: None where
    unknown.
    """

    address: str
    checksum: str = ""
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        """Name of the file, also below a mirror: <mirror>/<source>/<name>."""
        return self.address.rpartition("/")[2]

    @property
    def by_hand(self) -> bool:
        """Whether the user must fetch it."""
        return "://" not in self.address


class Dataset(NamedTuple):
    """Describe one dataset.

    reader: a name of `glta.datasets.readers.READERS`. files: by what they are for (interactions,
    items, ...). source: name of the dataset that has the same files, for the presets of papers
    (`glta.datasets.presets`).
    """

    name: str
    reader: str
    about: str
    files: dict[str, File]
    licence: str
    citation: str
    homepage: str
    source: str = ""
    synthetic: bool = False

    @property
    def file(self) -> File:
        """The only file of a dataset that is one archive."""
        (file,) = self.files.values()
        return file


def _movielens() -> Iterator[Dataset]:
    base, homepage = (
        "https://files.grouplens.org/datasets/movielens/",
        "https://grouplens.org/datasets/movielens/",
    )
    licence = (
        "GroupLens, University of Minnesota: research use; no commercial use without permission; "
        "acknowledge GroupLens in publications; see the README within the archive"
    )
    citation = (
        "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and "
        "Context. "
        "ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. "
        "https://doi.org/10.1145/2827872"
    )
    for name, reader, about, checksum, size, page in (
        (
            "ml-latest-small",
            "movielens_csv",
            "610 users, 9,724 films, 100,836 ratings (2018)",
            "sha256:696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
            978_202,
            "latest/",
        ),
        (
            "ml-100k",
            "movielens_100k",
            "943 users, 1,682 films, 100,000 ratings (1998)",
            "sha256:50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            None,
            "",
        ),
        (
            "ml-1m",
            "movielens_1m",
            "6,040 users, 3,706 rated films, 1,000,209 ratings (2003)",
            "sha256:a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
            None,
            "",
        ),
        (
            "ml-10m",
            "movielens_10m",
            "69,878 users, 10,677 rated films, 10,000,054 ratings (2009)",
            "md5:ce571fd55effeba0271552578f2648bd",
            65_566_137,
            "",
        ),
        (
            "ml-20m",
            "movielens_csv",
            "138,493 users, 26,744 rated films, 20,000,263 ratings (2015)",
            "md5:cd245b17a1ae2cc31bb14903e1204af3",
            198_702_078,
            "",
        ),
        (
            "ml-25m",
            "movielens_csv",
            "162,541 users, 59,047 rated films, 25,000,095 ratings (2019)",
            "md5:6b51fb2759a8657d3bfcbfc42b592ada",
            261_978_986,
            "",
        ),
        (
            "ml-32m",
            "movielens_csv",
            "200,948 users, 84,432 rated films, 32,000,204 ratings (2024)",
            "sha256:e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee",
            238_950_008,
            "32m/",
        ),
    ):
        archive = {"archive": File(f"{base}{name}.zip", checksum, size)}
        yield Dataset(name, reader, about, archive, licence, citation, homepage + page)


AMAZON_ALWAYS = """
    Automotive Books CDs_and_Vinyl Cell_Phones_and_Accessories Clothing_Shoes_and_Jewelry Digital_Music Electronics
    Grocery_and_Gourmet_Food Home_and_Kitchen Kindle_Store Movies_and_TV Musical_Instruments Office_Products
    Patio_Lawn_and_Garden Pet_Supplies Sports_and_Outdoors Tools_and_Home_Improvement Toys_and_Games Video_Games
"""
AMAZON_ONCE = {
    2014: "Amazon_Instant_Video Apps_for_Android Baby Beauty Health_and_Personal_Care",
    2018: """
        AMAZON_FASHION All_Beauty Appliances Arts_Crafts_and_Sewing Gift_Cards Industrial_and_Scientific Luxury_Beauty
        Magazine_Subscriptions Prime_Pantry Software
    """,
    2023: """
        All_Beauty Amazon_Fashion Appliances Arts_Crafts_and_Sewing Baby_Products Beauty_and_Personal_Care Gift_Cards
        Handmade_Products Health_and_Household Health_and_Personal_Care Industrial_and_Scientific Magazine_Subscriptions
        Software Subscription_Boxes Unknown
    """,
}
UCSD = "https://mcauleylab.ucsd.edu/public_datasets/"


def _amazon() -> Iterator[Dataset]:
    """Yield the categories of each edition: the 5-core of the reviews for 2014 and 2018, all
    reviews for 2023.
    """
    snap = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"
    addresses = {
        2014: (snap + "reviews_{}_5.json.gz", snap + "meta_{}.json.gz"),
        2018: (
            UCSD + "data/amazon_v2/categoryFilesSmall/{}_5.json.gz",
            UCSD + "data/amazon_v2/metaFiles2/meta_{}.json.gz",
        ),
        2023: (
            UCSD + "data/amazon_2023/raw/review_categories/{}.jsonl.gz",
            UCSD + "data/amazon_2023/raw/meta_categories/meta_{}.jsonl.gz",
        ),
    }
    homepages = {
        2014: "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
        2018: "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/",
        2023: "https://amazon-reviews-2023.github.io/",
    }
    citations = {
        2014: "Ruining He and Julian McAuley. 2016. Ups and Downs: Modeling the Visual Evolution "
        "of Fashion Trends with "
        "One-Class Collaborative Filtering. WWW 2016; Julian McAuley, Christopher Targett, "
        "Qinfeng Shi and Anton van den "
        "Hengel. 2015. Image-based Recommendations on Styles and Substitutes. SIGIR 2015",
        2018: "Jianmo Ni, Jiacheng Li and Julian McAuley. 2019. Justifying Recommendations using "
        "Distantly-Labeled Reviews and "
        "Fine-Grained Aspects. EMNLP-IJCNLP 2019",
        2023: "Yupeng Hou, Jiacheng Li, Zhankui He, An Yan, Xiusi Chen and Julian McAuley. 2024. "
        "Bridging Language and Items "
        "for Retrieval and Recommendation. arXiv:2403.03952",
    }
    for year, once in AMAZON_ONCE.items():
        for category in sorted([*AMAZON_ALWAYS.split(), *once.split()]):
            name = f"amazon-{year}-{category.lower().replace('_', '-')}"
            about = (
                f"Amazon reviews of {year}: "
                f"{category.replace('_', ' ')}{', all reviews' if year == 2023 else ', 5-core'}"
            )
            files = {
                role: File(a.format(category))
                for role, a in zip(("interactions", "items"), addresses[year], strict=True)
            }
            licence = "no licence stated; research use, with citation"
            yield Dataset(
                name, f"amazon_{year}", about, files, licence, citations[year], homepages[year]
            )


def _goodreads() -> Iterator[Dataset]:
    base = UCSD + "gdrive/goodreads/"
    citation = (
        "Mengting Wan and Julian McAuley. 2018. Item Recommendation on Monotonic Behavior Chains. "
        "RecSys 2018; Mengting Wan, "
        "Rishabh Misra, Ndapa Nakashole and Julian McAuley. 2019. Fine-Grained Spoiler Detection "
        "from Large-Scale Review "
        "Corpora. ACL 2019"
    )
    licence = "academic use only; do not redistribute, no commercial use"
    genres = (
        "children comics_graphic fantasy_paranormal history_biography mystery_thriller_crime "
        "poetry romance young_adult"
    )
    for genre in genres.split():
        files = {
            "interactions": File(f"{base}byGenre/goodreads_interactions_{genre}.json.gz"),
            "items": File(f"{base}byGenre/goodreads_books_{genre}.json.gz"),
            "genres": File(f"{base}goodreads_book_genres_initial.json.gz"),
        }
        homepage = "https://cseweb.ucsd.edu/~jmcauley/datasets/goodreads.html"
        words = genre.replace("_", " ")
        name = f"goodreads-{genre.replace('_', '-')}"
        yield Dataset(
            name, "goodreads", f"Goodreads shelves, {words}", files, licence, citation, homepage
        )


def _others() -> Iterator[Dataset]:
    yield Dataset(
        "sample",
        "sample",
        "synthetic bookshop: 800 users, 600 books, about 25,000 ratings; made here in a second, "
        "needs no network",
        {},
        "CC0 1.0: made by this program, no rights reserved",
        "",
        "",
        synthetic=True,
    )
    yield from _movielens()
    goodbooks = "https://github.com/zygmuntz/goodbooks-10k"
    raw = goodbooks.replace("github.com", "raw.githubusercontent.com") + "/master/"
    citation = (
        "Zygmunt Zajac. 2017. Goodbooks-10k: a new dataset for book recommendations. "
        "FastML. http://fastml.com/goodbooks-10k"
    )
    yield Dataset(
        "goodbooks-v1",
        "goodbooks_v1",
        "goodbooks-10k, first edition: 10,000 books, one million ratings, none with a time",
        {"archive": File("goodbooks-10k.zip")},
        "CC BY-SA 4.0",
        citation,
        "https://www.kaggle.com/datasets/zygmunt/goodbooks-10k",
    )
    yield Dataset(
        "goodbooks-v2",
        "goodbooks_v2",
        "goodbooks-10k, second edition: 10,000 books, six million ratings, none with a time",
        {role: File(f"{raw}{role}.csv") for role in ("ratings", "books", "book_tags", "tags")},
        "CC BY-SA 4.0",
        citation,
        goodbooks,
    )
    yield Dataset(
        "steam",
        "steam",
        "Steam, version 2: who reviewed which game on what day; no ratings",
        {
            "interactions": File("https://cseweb.ucsd.edu/~wckang/steam_reviews.json.gz"),
            "items": File("https://cseweb.ucsd.edu/~wckang/steam_games.json.gz"),
        },
        "no licence stated; research use, with citation",
        "Wang-Cheng Kang and Julian McAuley. 2018. Self-Attentive Sequential Recommendation. ICDM "
        "2018; Mengting Wan and "
        "Julian McAuley. 2018. Item Recommendation on Monotonic Behavior Chains. RecSys 2018; "
        "Apurva Pathak, Kshitiz Gupta and "
        "Julian McAuley. 2017. Generating and Personalizing Bundle Recommendations on Steam. "
        "SIGIR 2017",
        "https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
    )
    yield Dataset(
        "yelp",
        "yelp",
        "Yelp Open Dataset: reviews of businesses, with stars",
        {"archive": File("Yelp-JSON.zip")},
        "Yelp Dataset User Agreement: academic, non-commercial use; accept it on the homepage",
        "Yelp Open Dataset. https://business.yelp.com/data/resources/open-dataset/",
        "https://business.yelp.com/data/resources/open-dataset/",
    )
    yield from _id_lists()


def _id_lists() -> Iterator[Dataset]:
    """Yield the split data that papers publish beside their code: no texts, no times."""
    lightgcn = (
        "Xiangnan He, Kuan Deng, Xiang Wang, Yan Li, Yongdong Zhang and Meng Wang. 2020. "
        "LightGCN: Simplifying and Powering "
        "Graph Convolution Network for Recommendation. SIGIR 2020"
    )
    for name in ("gowalla", "yelp2018", "amazon-book"):
        base = f"https://raw.githubusercontent.com/kuandeng/LightGCN/master/Data/{name}/"
        files = {part: File(f"{base}{part}.txt") for part in ("train", "test")}
        about = f"{name} as split by NGCF and LightGCN: ids only"
        licence = "no licence stated for the data"
        homepage = "https://github.com/kuandeng/LightGCN"
        yield Dataset(f"split-{name}", "id_lists", about, files, licence, lightgcn, homepage)
    rlmrec = (
        "Xubin Ren, Wei Wei, Lianghao Xia, Lixin Su, Suqi Cheng, Junfeng Wang, Dawei Yin and Chao "
        "Huang. 2024. Representation "
        "Learning with Large Language Models for Recommendation. WWW 2024"
    )
    texts = {
        "amazon": File(
            "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/meta_Books.json.gz"
        ),
        "steam": File("https://cseweb.ucsd.edu/~wckang/steam_games.json.gz"),
        "yelp": File("Yelp-JSON.zip"),
    }
    for name, items in texts.items():
        mapper = File(
            f"https://raw.githubusercontent.com/HKUDS/RLMRec/main/data/mapper/{name}_item.json"
        )
        files = {
            **{part: File(f"{part}.txt") for part in ("train", "valid", "test")},
            "mapper": mapper,
            "items": items,
        }
        about = (
            f"{name} as sampled and split by RLMRec: ids written out from its matrices, texts "
            "from the source"
        )
        licence = "no licence stated for the data"
        homepage = "https://github.com/HKUDS/RLMRec"
        yield Dataset(
            f"split-rlmrec-{name}", f"rlmrec_{name}", about, files, licence, rlmrec, homepage
        )


_SOURCES = {d.name: d for group in (_others(), _amazon(), _goodreads()) for d in group}
REGISTRY: dict[str, Dataset] = _SOURCES | {
    name: _SOURCES[preset.source]._replace(name=name, about=preset.described, source=preset.source)
    for name, preset in PRESETS.items()
}


def table_files(interactions: str, items: str | None) -> dict[str, str]:
    """Name the files of a user's own dataset in its download folder: {"interactions": name,
    "items": name}.

    They keep their names; where both have the same, the items' file gets a prefix.
    """
    names = {"interactions": interactions.replace("\\", "/").rpartition("/")[2]}
    if items is not None:
        name = items.replace("\\", "/").rpartition("/")[2]
        names["items"] = f"items-{name}" if name == names["interactions"] else name
    return names
