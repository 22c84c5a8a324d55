"""Describe a dataset in its data card: the numbers of cards.json, and their words on the page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from glta.datasets.presets import compare
from glta.report.analysis import Analysis
from glta.report.wording import percent

ROWS = {
    "interaction_rows": "rows of interactions in the files",
    "bad_interaction_rows": "rows of interactions that could not be read",
    "item_rows": "rows of items in the files",
    "bad_item_rows": "rows of items that could not be read",
    "repeated_item_rows": "further rows of an item that already had one",
    "items_without_interactions": "items without interactions",
    "items_missing_from_their_table": "items with interactions and without a row: their id is used "
    "as the title",
    "items_without_text": "items whose row has no text: their id is used as the title",
}
"""Counts of `glta.io.raw.Raw`, as the card writes them."""

SPLIT = ("train", "valid", "test", "target", "cold", "leakage")
"""The counts that differ between seeds and are recorded for each of them in cards.json.

The numbers of interactions of users and items differ too; the card shows those of the first seed.
"""

FIRST_TIME = 473385600
"""1985 in seconds since 1970. An earlier newest time is not read as seconds."""

LAST_TIME = 4102444800
"""2100 in seconds since 1970. A later newest time is not read as seconds."""

UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
"""Units in which times may be counted, with the number of them in a second."""

EXPECTED = {
    "published": "equal to the hash that its owner publishes",
    "first download": "equal to the hash of its first download, as its owner publishes none",
    "params.yaml": "equal to the hash that params.yaml states",
    "": "no hash was expected",
}
"""The entry "expected" of a file in source.json, as the card writes it."""


class Check(NamedTuple):
    """Hold the result of a check of the data.

    kind: ok, bad, note (neither good nor bad) or code (a test of the code checks it, not these
    data). name: what should hold. found: what came out. text: what it means.
    """

    kind: Literal["ok", "bad", "note", "code"]
    name: str
    found: str
    text: str = ""


LEAK_TEST = ("tests/features/test_extractive.py", "test_nothing_leaks_from_held_out_pairs")
"""File and name of the test that `WORDS` refers to."""

WORDS = Check(
    "code",
    "Texts about users come from their training items alone",
    "holds by a test of the code",
    "The stage profile gives only the training part to the program that writes the texts. The test "
    "assigns every held-out pair to another user and finds the same words and the same prompts: "
    f"{LEAK_TEST[1]} in {LEAK_TEST[0]}.",
)
KNOWN = Check(
    "ok",
    "No list shows an item that its user was known to have",
    "none of any method in this report",
    "The stage evaluate refuses lists with an item of their user's training part. It refuses test "
    "lists with an item of the validation part, too.",
)
RANDOM = (
    "A random split draws training and test interactions from the same period, so this is expected."
)
GAPS = (
    "Methods have seen interactions that are newer than the ones they are asked about. They fill "
    "gaps in a history and do not predict how it continues. All methods have the same advantage, "
    "so they can be compared. In use, only the past is known, and all values may be lower. The "
    "parameter prepare.split: global_time measures that."
)
OTHERS = (
    "No user's own later interactions help to predict earlier ones. The later interactions of "
    "other users may. A split by global time avoids that."
)


def card(a: Analysis) -> dict[str, Any]:
    """Gather what is recorded of a dataset; empty without results.

    Returns source (the content of source.json), published (see `glta.datasets.presets.compare`),
    counts (the content of counts.json of the first seed) and splits (the counts of SPLIT by seed).
    Results of older versions may lack any part of source.json and counts.json.
    """
    counts = {seed: cell.summary.get("counts") or {} for seed, cell in a.splits.items()}
    if not counts:
        return {}
    first = next(iter(counts.values()))
    splits = {
        str(seed): {name: of_seed[name] for name in SPLIT if name in of_seed}
        for seed, of_seed in counts.items()
    }
    return {
        "source": a.summary.get("source") or {},
        "published": compare(a.dataset, first, must_agree=False) if first else None,
        "counts": first,
        "splits": splits,
    }


def card_view(found: dict[str, Any]) -> dict[str, Any]:
    """Turn a card into what the template prints. Parts that are not recorded are empty."""
    counts = found.get("counts", {})
    seeds = list(found.get("splits", {}))
    source_counts = counts.get("source", {})
    texts = counts.get("text", {})
    return {
        "source": found.get("source", {}),
        "expected": EXPECTED,
        "counts": counts,
        "seed": seeds[0] if seeds else None,
        "num_seeds": len(seeds),
        "time": time_range(counts.get("timestamp")),
        "rating": rating_range(counts.get("rating")),
        "steps": _steps(counts.get("steps") or []),
        "rows": [
            (source_counts[name], words) for name, words in ROWS.items() if name in source_counts
        ],
        "no_item_table": source_counts.get("items_without_table", False),
        "degrees": _quantiles(
            {"items of a user": "user", "users of an item": "item"},
            counts.get("degree", {}),
            mean="mean",
        ),
        "texts": _quantiles({name: name for name in texts}, texts, mean="mean_words"),
        "checks": [check._asdict() for check in checks(found)],
    }


def checks(found: dict[str, Any]) -> list[Check]:
    """List what was checked in a dataset, with the results.

    found: a card. A check whose counts are not recorded is left out.
    """
    counts = found.get("counts", {})
    if not counts:
        return []
    splits = found.get("splits", {})
    made = []
    if found.get("published"):
        made.append(_published(found["published"], counts))
    leakage = {seed: split["leakage"] for seed, split in splits.items() if "leakage" in split}
    if leakage:
        made.append(_pairs({seed: of["pairs_in_two_parts"] for seed, of in leakage.items()}))
    sums = [
        split["train"] + split["valid"] + split["test"]
        for split in splits.values()
        if "train" in split
    ]
    if sums:
        made.append(_sums(counts["interactions"], sums))
    if leakage:
        first = next(iter(leakage.values()))
        made.append(_times(first["test"], counts.get("split")))
    return [*made, KNOWN, WORDS]


def _published(published: dict[str, Any], counts: dict[str, Any]) -> Check:
    """Compare the counts with those of a paper; see `glta.datasets.presets.compare`."""
    both = "; ".join(
        f"{name} {n:,} published, {counts[name]:,} here" for name, n in published["counts"].items()
    )
    kind: Literal["ok", "bad"] = "ok" if published["agrees"] else "bad"
    text = f"Published: {published['table']}."
    return Check(kind, "The counts are the published ones", both, text)


def _pairs(shared: Mapping[str, int]) -> Check:
    """Check that the parts are disjoint. shared: the number of pairs in two parts, by seed."""
    name = "No pair of user and item is in two parts"
    text = "With such a pair, a method would be tested on what it was trained on."
    if any(shared.values()):
        found = "; ".join(f"{n:,} in the split of seed {seed}" for seed, n in shared.items())
        return Check("bad", name, found, text)
    return Check("ok", name, f"none in {'any split' if len(shared) > 1 else 'this split'}", text)


def _sums(interactions: int, sums: list[int]) -> Check:
    """Check that no interaction is lost. sums: of each split, the pairs of all its parts."""
    together = ", ".join(f"{n:,}" for n in dict.fromkeys(sums))
    found = f"the filters left {interactions:,} interactions; the parts together have {together}"
    kind: Literal["ok", "bad"] = "ok" if {*sums} == {interactions} else "bad"
    return Check(kind, "Every interaction is in a part", found)


def _times(leakage: dict[str, Any], split: str | None) -> Check:
    """Explain how much of the test part is older than training.

    leakage: of the test part, see `glta.data.statistics.leakage`. split: how the data were split.
    """
    name = "Times of test and training interactions"
    older = leakage["older_than_training"]
    own = leakage["older_than_own_training"]
    if older is None:
        text = "It is not known whether newer interactions help to predict older ones."
        return Check("note", name, "not known, as not all interactions have a time", text)
    found = (
        f"{percent(older)} of the test interactions are older than the newest training "
        f"interaction of all users, {percent(own)} are older than the newest one of their own user"
    )
    if older == 0:
        text = "No training interaction is newer than a tested one: methods know only the past."
        return Check("ok", name, found, text)
    if own == 0:
        return Check("note", name, found, OTHERS)
    return Check("note", name, found, f"{RANDOM} {GAPS}" if split == "random" else GAPS)


def time_range(times: dict[str, Any] | None) -> dict[str, Any] | None:
    """Write the first and last time; None when they are not recorded.

    They are written as dates when they can be counts since 1970 in one of UNITS, and as numbers
    otherwise. Returns ends (texts) and note (a text).
    """
    if times is None:
        return None
    if not times["share"]:
        return {"ends": ["no times"], "note": ""}
    low = times["min"]
    high = times["max"]
    part = _part_text(times["share"])
    for name, unit in UNITS.items():
        if low >= 0 and FIRST_TIME <= high // unit < LAST_TIME:
            dates = [datetime.fromtimestamp(t // unit, UTC).date().isoformat() for t in (low, high)]
            return {"ends": dates, "note": f"read as {name} since 1970{part}"}
    return {"ends": [f"{low:,}", f"{high:,}"], "note": f"in a unit of the source's own{part}"}


def rating_range(rating: dict[str, Any] | None) -> dict[str, Any] | None:
    """Write the lowest and highest rating; None when they are not recorded.

    Returns ends (texts) and note (a text with the mean).
    """
    if rating is None:
        return None
    if not rating["share"]:
        return {"ends": ["no ratings"], "note": ""}
    note = f"mean {rating['mean']:.2f}{_part_text(rating['share'])}"
    return {"ends": [f"{rating['min']:g}", f"{rating['max']:g}"], "note": note}


def _part_text(share: float) -> str:
    """Write how many of the interactions have a value, when not all have one."""
    return "" if share == 1 else f"; {percent(share)} of the interactions have one"


def _steps(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the length of a bar to each step: the percentage of all rows that the step left."""
    if not steps:
        return []
    all_rows = steps[0]["interactions"] + steps[0].get("dropped", 0) or 1
    return [step | {"bar": round(100 * step["interactions"] / all_rows, 2)} for step in steps]


def _quantiles(rows: dict[str, str], found: dict[str, Any], *, mean: str) -> dict[str, Any]:
    """Make a table of quantiles.

    rows: key in `found` by the name of the row. mean: key of the mean. Returns headings, and rows
    with name, mean, quantiles, share and distinct.
    """
    headings: list[str] = []
    made: list[dict[str, Any]] = []
    for name, key in rows.items():
        if key not in found:
            continue
        of_row = found[key]
        quantiles = of_row.get("quantiles") or of_row.get("words") or {}
        if not made:
            headings = [_quantile_heading(quantile) for quantile in quantiles]
        made.append(
            {
                "name": name,
                "mean": of_row.get(mean),
                "quantiles": list(quantiles.values()),
                "share": of_row.get("share"),
                "distinct": of_row.get("distinct"),
            }
        )
    return {"headings": headings, "rows": made}


def _quantile_heading(quantile: str) -> str:
    names = {"0": "least", "0.5": "median", "1": "most"}
    return names.get(quantile, f"{float(quantile):.0%}")
