"""The datasets of papers, each by one name that sets files, filters, split and expected counts.

For example `datasets: [glta-movielens]` in params.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

GLTA = "table of datasets in arXiv:2502.18757"
LIGHTGCN = "table of datasets in arXiv:2002.02126"
RLMREC = "HKUDS/RLMRec issue 28: training part only"
S3REC = "table of datasets in arXiv:2008.07873, whose files GAL-Rec is taken to use"

# Values of `prepare`. CORE, RANDOM and GIVEN start from WHOLE, which filters nothing.
WHOLE: dict[str, Any] = {
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

    source: the registered dataset that has its files. about: one line for lists of datasets.
    prepare: values that replace those of the section `prepare` in params.yaml. Values that
    `overrides` has for this preset replace them in turn.
    published: the counts that the paper prints, by their names in `counts.json`. table: where they
    are printed. stated: whether the paper or its code tells the filters and the split; if not, they
    are our guess.
    """

    source: str
    about: str
    prepare: dict[str, Any]
    published: dict[str, int]
    table: str
    stated: bool = True

    @property
    def described(self) -> str:
        """One line about the dataset, with the published counts."""
        counts = ", ".join(f"{count:,} {name}" for name, count in self.published.items())
        return f"{self.about}: {counts}"


def _counts(users: int, items: int, interactions: int) -> dict[str, int]:
    return {"users": users, "items": items, "interactions": interactions}


def _training(users: int, items: int, train: int) -> dict[str, int]:
    return {"users": users, "items": items, "train": train}


# The paper of GLTA tells only the counts of its data. Those of MovieLens are the counts of the
# whole file; for the other two no filter is known that gives them.
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


def compare(dataset: str, counts: Mapping[str, Any], must_agree: bool) -> dict[str, Any] | None:
    """Compare the counts of a preset with the published ones.

    counts: those found, with at least the names of `Preset.published`. Returns {"table", "counts",
    "agrees"}, or None for a dataset that is no preset. Raises ValueError that shows both counts
    when must_agree is set and they differ.
    """
    if dataset not in PRESETS:
        return None
    preset = PRESETS[dataset]
    found = {name: counts[name] for name in preset.published}
    agrees = found == preset.published
    if must_agree and not agrees:
        both = "; ".join(
            f"{name} {count:,} published, {found[name]:,} found"
            for name, count in preset.published.items()
        )
        why = "the files or the filters differ"
        if not preset.stated:
            why = "the filters are not stated, ours are a guess"
        raise ValueError(
            f"{dataset}: {both} ({preset.table}); {why}: correct overrides.{dataset}.prepare, or "
            "set published: report there to go on with what was found"
        )
    return {"table": preset.table, "counts": preset.published, "agrees": agrees}
