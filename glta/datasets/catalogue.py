"""The registered datasets: addresses and checksums of their files, licences and citations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from glta.datasets.presets import PRESETS
from glta.storage.digests import digest_of, digest_of_folder, visible_files


class File(NamedTuple):
    """Describe one file of a dataset.

    address: an http address. It is a bare file name where the user must fetch the file, because the
    owner asks to accept terms first or publishes another form of it.
    checksum: `sha256:...` or `md5:...` as the owner publishes it. Where it is empty,
    `glta.datasets.fetch` records the checksum of the first download.
    size_bytes: None where it is unknown.
    """

    address: str
    checksum: str = ""
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        """Name of the file. A mirror has it at MIRROR/SOURCE/NAME."""
        return self.address.rpartition("/")[2]

    @property
    def by_hand(self) -> bool:
        """Whether the user must fetch the file by hand."""
        return "://" not in self.address


class Dataset(NamedTuple):
    """Describe one dataset.

    reader: a name in `glta.datasets.readers.READERS`. about: one line for lists of datasets.
    files: by their role (interactions, items, ...). homepage: where the owner describes the data.
    source: for the presets of papers (`glta.datasets.presets`), the dataset that has the same
    files; else empty. synthetic: whether this program makes the data itself.
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
        """The file of a dataset that has just one."""
        (file,) = self.files.values()
        return file


def _movielens() -> Iterator[Dataset]:
    base = "https://files.grouplens.org/datasets/movielens/"
    homepage = "https://grouplens.org/datasets/movielens/"
    licence = (
        "GroupLens, University of Minnesota: research use; no commercial use without permission; "
        "acknowledge GroupLens in publications; see the README within the archive"
    )
    citation = (
        "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and "
        "Context. ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. "
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
        yield Dataset(
            name=name,
            reader=reader,
            about=about,
            files=archive,
            licence=licence,
            citation=citation,
            homepage=homepage + page,
        )


# The categories of Amazon that all three editions have, and those of single editions.
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
    """Yield one dataset for each category of each edition.

    The editions of 2014 and 2018 give the 5-core of the reviews, that of 2023 gives all reviews.
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
        "of Fashion Trends with One-Class Collaborative Filtering. WWW 2016; Julian McAuley, "
        "Christopher Targett, Qinfeng Shi and Anton van den Hengel. 2015. Image-based "
        "Recommendations on Styles and Substitutes. SIGIR 2015",
        2018: "Jianmo Ni, Jiacheng Li and Julian McAuley. 2019. Justifying Recommendations using "
        "Distantly-Labeled Reviews and Fine-Grained Aspects. EMNLP-IJCNLP 2019",
        2023: "Yupeng Hou, Jiacheng Li, Zhankui He, An Yan, Xiusi Chen and Julian McAuley. 2024. "
        "Bridging Language and Items for Retrieval and Recommendation. arXiv:2403.03952",
    }
    for year, once in AMAZON_ONCE.items():
        reviews, products = addresses[year]
        kind = "all reviews" if year == 2023 else "5-core"
        for category in sorted([*AMAZON_ALWAYS.split(), *once.split()]):
            yield Dataset(
                name=f"amazon-{year}-{category.lower().replace('_', '-')}",
                reader=f"amazon_{year}",
                about=f"Amazon reviews of {year}: {category.replace('_', ' ')}, {kind}",
                files={
                    "interactions": File(reviews.format(category)),
                    "items": File(products.format(category)),
                },
                licence="no licence stated; research use, with citation",
                citation=citations[year],
                homepage=homepages[year],
            )


def _goodreads() -> Iterator[Dataset]:
    base = UCSD + "gdrive/goodreads/"
    citation = (
        "Mengting Wan and Julian McAuley. 2018. Item Recommendation on Monotonic Behavior Chains. "
        "RecSys 2018; Mengting Wan, Rishabh Misra, Ndapa Nakashole and Julian McAuley. 2019. "
        "Fine-Grained Spoiler Detection from Large-Scale Review Corpora. ACL 2019"
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
        yield Dataset(
            name=f"goodreads-{genre.replace('_', '-')}",
            reader="goodreads",
            about=f"Goodreads shelves, {genre.replace('_', ' ')}",
            files=files,
            licence=licence,
            citation=citation,
            homepage="https://cseweb.ucsd.edu/~jmcauley/datasets/goodreads.html",
        )


def _others() -> Iterator[Dataset]:
    yield Dataset(
        name="sample",
        reader="sample",
        about="synthetic bookshop: 800 users, 600 books, about 25,000 ratings; made here in a second, "
        "needs no network",
        files={},
        licence="CC0 1.0: made by this program, no rights reserved",
        citation="",
        homepage="",
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
        name="goodbooks-v1",
        reader="goodbooks_v1",
        about="goodbooks-10k, first edition: 10,000 books, one million ratings, none with a time",
        files={"archive": File("goodbooks-10k.zip")},
        licence="CC BY-SA 4.0",
        citation=citation,
        homepage="https://www.kaggle.com/datasets/zygmunt/goodbooks-10k",
    )
    yield Dataset(
        name="goodbooks-v2",
        reader="goodbooks_v2",
        about="goodbooks-10k, second edition: 10,000 books, six million ratings, none with a time",
        files={
            role: File(f"{raw}{role}.csv") for role in ("ratings", "books", "book_tags", "tags")
        },
        licence="CC BY-SA 4.0",
        citation=citation,
        homepage=goodbooks,
    )
    yield Dataset(
        name="steam",
        reader="steam",
        about="Steam, version 2: who reviewed which game on what day; no ratings",
        files={
            "interactions": File("https://cseweb.ucsd.edu/~wckang/steam_reviews.json.gz"),
            "items": File("https://cseweb.ucsd.edu/~wckang/steam_games.json.gz"),
        },
        licence="no licence stated; research use, with citation",
        citation="Wang-Cheng Kang and Julian McAuley. 2018. Self-Attentive Sequential "
        "Recommendation. ICDM 2018; Mengting Wan and Julian McAuley. 2018. Item Recommendation on "
        "Monotonic Behavior Chains. RecSys 2018; Apurva Pathak, Kshitiz Gupta and Julian McAuley. "
        "2017. Generating and Personalizing Bundle Recommendations on Steam. SIGIR 2017",
        homepage="https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
    )
    yield Dataset(
        name="yelp",
        reader="yelp",
        about="Yelp Open Dataset: reviews of businesses, with stars",
        files={"archive": File("Yelp-JSON.zip")},
        licence="Yelp Dataset User Agreement: academic, non-commercial use; accept it on the homepage",
        citation="Yelp Open Dataset. https://business.yelp.com/data/resources/open-dataset/",
        homepage="https://business.yelp.com/data/resources/open-dataset/",
    )
    yield from _id_lists()


def _id_lists() -> Iterator[Dataset]:
    """Yield the data that papers publish with their code: already split, as ids alone."""
    lightgcn = (
        "Xiangnan He, Kuan Deng, Xiang Wang, Yan Li, Yongdong Zhang and Meng Wang. 2020. "
        "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation. SIGIR "
        "2020"
    )
    for name in ("gowalla", "yelp2018", "amazon-book"):
        base = f"https://raw.githubusercontent.com/kuandeng/LightGCN/master/Data/{name}/"
        files = {part: File(f"{base}{part}.txt") for part in ("train", "test")}
        about = f"{name} as split by NGCF and LightGCN: ids only"
        licence = "no licence stated for the data"
        homepage = "https://github.com/kuandeng/LightGCN"
        yield Dataset(
            name=f"split-{name}",
            reader="id_lists",
            about=about,
            files=files,
            licence=licence,
            citation=lightgcn,
            homepage=homepage,
        )
    rlmrec = (
        "Xubin Ren, Wei Wei, Lianghao Xia, Lixin Su, Suqi Cheng, Junfeng Wang, Dawei Yin and Chao "
        "Huang. 2024. Representation Learning with Large Language Models for Recommendation. WWW "
        "2024"
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
            name=f"split-rlmrec-{name}",
            reader=f"rlmrec_{name}",
            about=about,
            files=files,
            licence=licence,
            citation=rlmrec,
            homepage=homepage,
        )


def _registry() -> dict[str, Dataset]:
    """Return all datasets by name: the sources, and then the presets of papers."""
    sources = {d.name: d for group in (_others(), _amazon(), _goodreads()) for d in group}
    presets = {
        name: sources[preset.source]._replace(
            name=name, about=preset.described, source=preset.source
        )
        for name, preset in PRESETS.items()
    }
    return sources | presets


REGISTRY: dict[str, Dataset] = _registry()


def unknown_dataset(dataset: str) -> ValueError:
    """Return the error for a name that is neither registered nor one of the user's own tables."""
    return ValueError(
        f"{dataset}: is no registered dataset, nor one of tables in params.yaml; `glta datasets` "
        "lists all"
    )


def table_files(interactions: str, items: str | None) -> dict[str, str]:
    """Return the file names, by role, that a user's own dataset has in its download folder.

    interactions, items: paths or addresses. Files keep their names. Where both have the same name,
    that of the items gets the prefix `items-`.
    """
    names = {"interactions": file_name(interactions)}
    if items is not None:
        name = file_name(items)
        names["items"] = f"items-{name}" if name == names["interactions"] else name
    return names


def file_name(address: str) -> str:
    """Return the last part of a path, with slashes or backslashes, or of an http address."""
    return address.replace("\\", "/").rstrip("/").rpartition("/")[2]


def digest_of_table(path: Path) -> str:
    """Return the SHA-256 digest of a file, or that of the parts of a folder."""
    return digest_of_folder(path, parts_of(path)) if path.is_dir() else digest_of(path)


def parts_of(path: Path) -> list[Path]:
    """Return the files that a table consists of: the file itself, or those of a folder.

    Files of inner folders count too, in the order of their paths; not those that other programs put
    beside the data: hidden ones, and those whose name begins with `_`, such as `_SUCCESS`. Raises
    ValueError for a link to a folder or to nothing, which would be passed over.
    """
    if not path.is_dir():
        return [path]
    for link in sorted(path.rglob("*")):
        is_part = not any(name.startswith((".", "_")) for name in link.relative_to(path).parts)
        if is_part and link.is_symlink() and not link.is_file():
            what = "a folder" if link.is_dir() else "no file"
            raise ValueError(f"{link}: is a link to {what}; put the files themselves in its place")
    return [
        part
        for part in visible_files(path)
        if not any(name.startswith("_") for name in part.relative_to(path).parts)
    ]
