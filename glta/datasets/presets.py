"""The data of papers by one name: `datasets: [glta-movielens]` sets files, filters and split, and
checks the counts.
"""

from __future__ import annotations

from typing import NamedTuple

GLTA = "table of datasets in arXiv:2502.18757"
LIGHTGCN = "table of datasets in arXiv:2002.02126"
RLMREC = "HKUDS/RLMRec issue 28: training part only"
S3REC = "table of datasets in arXiv:2008.07873, whose files GAL-Rec is taken to use"

WHOLE = {
    "min_rating": None,
    "since": None,
    "until": None,
    "user_core": 1,
    "item_core": 1,
    "duplicates": "last",
}
CORE = WHOLE | {"user_core": 5, "item_core": 5, "split": "leave_last_out"}
RANDOM = WHOLE | {"split": "random", "valid_share": 0.1, "test_share": 0.2}
GIVEN = WHOLE | {"split": "given", "valid_share": 0.1}


class Preset(NamedTuple):
    """Describe one dataset of a paper.

    source: the registered dataset with its files. prepare: values of params.yaml's `prepare`, in
    place of the general ones; overrides of this name come on top. published: counts of
    `counts.json` as printed; table: where. stated: whether paper or code state the filters and the
    split, or we infer them.
    """

    source: str
    about: str
    prepare: dict
    published: dict[str, int]
    table: str
    stated: bool = True

    @property
    def described(self) -> str:
        """What it is, with the published counts."""
        return f"{self.about}: {', '.join(f'{n:,} {name}' for name, n in self.published.items())}"


def _counts(users: int, items: int, interactions: int) -> dict[str, int]:
    return {"users": users, "items": items, "interactions": interactions}


def _training(users: int, items: int, train: int) -> dict[str, int]:
    return {"users": users, "items": items, "train": train}


# Of GLTA's data only the counts are known. Those of MovieLens are of the whole file; for the others
# no filter is stated.
PRESETS: dict[str, Preset] = {
    "glta-movielens": Preset(
        "ml-1m", "MovieLens-1M in GLTA", RANDOM, _counts(6040, 3706, 1_000_209), GLTA
    ),
    "glta-goodreads": Preset(
        "goodreads-history-biography",
        "Goodreads in GLTA",
        RANDOM,
        _counts(10_131, 10_725, 478_334),
        GLTA,
        stated=False,
    ),
    "glta-amazon": Preset(
        "amazon-2018-grocery-and-gourmet-food",
        "Amazon in GLTA",
        RANDOM,
        _counts(1032, 17_609, 30_510),
        GLTA,
        stated=False,
    ),
    "lightgcn-gowalla": Preset(
        "split-gowalla", "Gowalla in LightGCN", GIVEN, _counts(29_858, 40_981, 1_027_370), LIGHTGCN
    ),
    "lightgcn-yelp2018": Preset(
        "split-yelp2018",
        "Yelp2018 in LightGCN",
        GIVEN,
        _counts(31_668, 38_048, 1_561_406),
        LIGHTGCN,
    ),
    "lightgcn-amazon-book": Preset(
        "split-amazon-book",
        "Amazon-Book in LightGCN",
        GIVEN,
        _counts(52_643, 91_599, 2_984_108),
        LIGHTGCN,
    ),
    "rlmrec-amazon": Preset(
        "split-rlmrec-amazon",
        "Amazon-book in RLMRec",
        GIVEN,
        _training(11_000, 9332, 120_464),
        RLMREC,
    ),
    "rlmrec-yelp": Preset(
        "split-rlmrec-yelp", "Yelp in RLMRec", GIVEN, _training(11_091, 11_010, 166_620), RLMREC
    ),
    "rlmrec-steam": Preset(
        "split-rlmrec-steam", "Steam in RLMRec", GIVEN, _training(23_310, 5237, 316_190), RLMREC
    ),
    "gal-rec-beauty": Preset(
        "amazon-2014-beauty",
        "Beauty in GAL-Rec",
        CORE,
        _counts(22_363, 12_101, 198_502),
        S3REC,
        stated=False,
    ),
    "gal-rec-toys": Preset(
        "amazon-2014-toys-and-games",
        "Toys in GAL-Rec",
        CORE,
        _counts(19_412, 11_924, 167_597),
        S3REC,
        stated=False,
    ),
    "gal-rec-yelp": Preset(
        "yelp",
        "Yelp of 2019 in GAL-Rec",
        CORE | {"since": 1_546_300_800, "until": 1_577_750_400},
        _counts(30_431, 20_033, 316_354),
        S3REC,
        stated=False,
    ),
}


def compare(dataset: str, counts: dict, must_agree: bool) -> dict | None:
    """Return {"table", "counts", "agrees"} of a preset, None for other datasets.

    Raises ValueError that shows both when must_agree and the published counts differ from those
    found.
    """
    if dataset not in PRESETS:
        return None
    preset = PRESETS[dataset]
    found = {name: counts[name] for name in preset.published}
    if must_agree and found != preset.published:
        both = "; ".join(
            f"{name} {preset.published[name]:,} published, {n:,} found" for name, n in found.items()
        )
        why = (
            "the files or the filters differ"
            if preset.stated
            else "the filters are not stated, ours are a guess"
        )
        raise ValueError(
            f"{dataset}: {both} ({preset.table}); {why}: correct overrides.{dataset}.prepare, "
            "or set published: report there to go on with what was found"
        )
    return {"table": preset.table, "counts": preset.published, "agrees": found == preset.published}
