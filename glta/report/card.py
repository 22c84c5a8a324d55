"""The data card of a dataset: what is recorded of it, as numbers for cards.json and as rows and
words for the template.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from glta.datasets.presets import compare
from glta.report.analysis import Analysis

ROWS = {  # counts of `glta.io.raw.Raw`, as the card says them
    "interaction_rows": "rows of interactions in the files",
    "bad_interaction_rows": "rows of interactions that could not be read",
    "item_rows": "rows of items in the files",
    "bad_item_rows": "rows of items that could not be read",
    "repeated_item_rows": "further rows of an item that had one",
    "items_without_interactions": "items that nobody interacted with",
    "items_missing_from_their_table": "items with interactions and without a row: their id is the "
    "title",
    "items_without_text": "items with a row and without text in it: their id is the title",
}
SPLIT = (
    "train",
    "valid",
    "test",
    "target",
    "cold",
    "leakage",
)  # what a seed changes, beside the degrees
FIRST_TIME, LAST_TIME = 473385600, 4102444800  # 1985 and 2100, in seconds since 1970


class Check(NamedTuple):
    """kind: ok, bad, note (neither good nor bad, but to be known) or code (not looked at in these
    data).
    """

    kind: str
    name: str
    found: str
    text: str = ""


LEAK_TEST = ("tests/features/test_extractive.py", "test_nothing_leaks_from_held_out_pairs")
WORDS = Check(
    "code",
    "Texts about users come from their training items alone",
    "holds by a test of the code",
    "The stage profile hands the training part alone to what writes them. The test gives every "
    "held-out pair to somebody else "
    f"and finds the same words and the same prompts: {LEAK_TEST[1]} in {LEAK_TEST[0]}.",
)
KNOWN = Check(
    "ok",
    "No list shows what its user was known to have",
    "none of any method in this report",
    "The stage evaluate refuses lists with an item of their user's training part and, when "
    "tested, validation part.",
)
RANDOM = "A random split draws training and test from one span of time, so this is as it must be."
GAPS = (
    "Methods have seen what people did after the moments that they are asked about: they fill "
    "gaps in a history, they do not "
    "foresee how it goes on. All have the same advantage, so comparing them is fair; in use, "
    "where only the past is known, "
    "all values may be lower. The parameter prepare.split: global_time measures that."
)
OTHERS = (
    "Nobody's own future helps to predict their past. What others did later may; a split by "
    "global time avoids that."
)


def card(a: Analysis) -> dict[str, Any]:
    """Gather what is recorded of a dataset; empty without results.

    {"source": source.json, "published": see `glta.datasets.presets.compare`, "counts": counts.json
    of the first seed, "splits": {seed: what its split changes}}. Results of older versions may lack
    any part of source.json and counts.json.
    """
    counts = {seed: cell.summary.get("counts") or {} for seed, cell in a.splits.items()}
    if not counts:
        return {}
    first = next(iter(counts.values()))
    return {
        "source": next(iter(a.splits.values())).summary.get("source") or {},
        "published": compare(a.dataset, first, must_agree=False) if first else None,
        "counts": first,
        "splits": {
            str(seed): {name: c[name] for name in SPLIT if name in c} for seed, c in counts.items()
        },
    }


EXPECTED = {  # "expected" of a file in source.json, as the card says it
    "published": "as its owner publishes it",
    "first download": "as at its first download: its owner publishes none",
    "params.yaml": "as params.yaml states it",
    "": "nothing was expected",
}


def card_view(found: dict[str, Any]) -> dict[str, Any]:
    """Put a card into what the template prints; parts that are not recorded are empty."""
    counts, source = found.get("counts", {}), found.get("source", {})
    seeds = list(found.get("splits", {}))
    return {
        "source": source,
        "expected": EXPECTED,
        "counts": counts,
        "seed": seeds[0] if seeds else None,
        "num_seeds": len(seeds),
        "time": span(counts.get("timestamp")),
        "rating": _rating(counts.get("rating")),
        "steps": _steps(counts.get("steps") or []),
        "rows": [
            (counts["source"][name], words)
            for name, words in ROWS.items()
            if name in counts.get("source", {})
        ],
        "no_item_table": counts.get("source", {}).get("items_without_table", False),
        "degrees": _quantiles(
            {"items of a user": "user", "users of an item": "item"},
            counts.get("degree", {}),
            "mean",
        ),
        "texts": _quantiles(
            {name: name for name in counts.get("text", {})}, counts.get("text", {}), "mean_words"
        ),
        "checks": [check._asdict() for check in checks(found)],
    }


def checks(found: dict[str, Any]) -> list[Check]:
    """Say what was checked, what came out, and what it means; what a card does not record is left
    out.
    """
    counts, splits = found.get("counts", {}), found.get("splits", {})
    if not counts:
        return []
    leaks = {seed: split["leakage"] for seed, split in splits.items() if "leakage" in split}
    sums = [
        sum(split[part] for part in ("train", "valid", "test"))
        for split in splits.values()
        if "train" in split
    ]
    made = [_published(found["published"], counts)] if found.get("published") else []
    made += (
        [_pairs({seed: leak["pairs_in_two_parts"] for seed, leak in leaks.items()})]
        if leaks
        else []
    )
    made += [_sums(counts["interactions"], sums)] if sums else []
    made += [_times(next(iter(leaks.values()))["test"], counts.get("split"))] if leaks else []
    return [*made, KNOWN, WORDS]


def _published(published: dict[str, Any], counts: dict[str, Any]) -> Check:
    both = "; ".join(
        f"{name} {n:,} published, {counts[name]:,} here" for name, n in published["counts"].items()
    )
    kind = "ok" if published["agrees"] else "bad"
    return Check(
        kind, "The counts are the published ones", both, f"Published: {published['table']}."
    )


def _pairs(shared: dict[str, int]) -> Check:
    """shared: by seed, how many pairs are in two parts."""
    name, text = (
        "No pair of user and item is in two parts",
        "Such a pair in training and test would give its answer away.",
    )
    if any(shared.values()):
        return Check(
            "bad",
            name,
            "; ".join(f"{n:,} in the split of seed {seed}" for seed, n in shared.items()),
            text,
        )
    return Check("ok", name, f"none in {'any split' if len(shared) > 1 else 'this split'}", text)


def _sums(interactions: int, sums: list[int]) -> Check:
    """sums: of each split, the pairs of its parts together."""
    together = ", ".join(f"{n:,}" for n in dict.fromkeys(sums))
    found = f"the filters left {interactions:,} interactions; the parts together have {together}"
    return Check(
        "ok" if {*sums} == {interactions} else "bad", "Every interaction is in a part", found
    )


def _times(leak: dict[str, Any], split: str | None) -> Check:
    """Explain how much of the test part is older than training; leak: of one part, see
    `glta.data.statistics.leakage`.
    """
    name = "What is tested, and what came later"
    older, own = leak["older_than_training"], leak["older_than_own_training"]
    if older is None:
        text = "So nobody can say whether later interactions help to predict earlier ones."
        return Check("note", name, "not known, as not all interactions have a time", text)
    found = (
        f"{percent(older)} of the test interactions are older than the newest training "
        "interaction of all users, "
        f"{percent(own)} than their own user's newest"
    )
    if older == 0:
        return Check(
            "ok",
            name,
            found,
            "No training interaction is newer than a tested one: nothing of the future is known.",
        )
    if own == 0:
        return Check("note", name, found, OTHERS)
    return Check("note", name, found, f"{RANDOM} {GAPS}" if split == "random" else GAPS)


def percent(share: float) -> str:
    """Write a share; 0% and 100% are said of nothing and of all alone."""
    text = f"{share:.1%}"
    if share in (0, 1):
        return f"{share:.0%}"
    return {"0.0%": "under 0.1%", "100.0%": "over 99.9%"}.get(text, text)


def span(times: dict[str, Any] | None) -> dict[str, Any] | None:
    """Write the first and last time as dates where they can be seconds since 1970, or parts of
    them; None if not recorded.
    """
    if times is None:
        return None
    if not times["share"]:
        return {"ends": ["no times"], "note": ""}
    low, high = times["min"], times["max"]
    note = (
        "" if times["share"] == 1 else f"; {percent(times['share'])} of the interactions have one"
    )
    for name, unit in (
        ("seconds", 1),
        ("milliseconds", 10**3),
        ("microseconds", 10**6),
        ("nanoseconds", 10**9),
    ):
        if low >= 0 and FIRST_TIME <= high // unit < LAST_TIME:
            dates = [datetime.fromtimestamp(t // unit, UTC).date().isoformat() for t in (low, high)]
            return {"ends": dates, "note": f"read as {name} since 1970{note}"}
    return {"ends": [f"{low:,}", f"{high:,}"], "note": f"in a unit of the source's own{note}"}


def _rating(rating: dict[str, Any] | None) -> dict[str, Any] | None:
    if rating is None:
        return None
    if not rating["share"]:
        return {"ends": ["no ratings"], "note": ""}
    part = (
        "" if rating["share"] == 1 else f"; {percent(rating['share'])} of the interactions have one"
    )
    return {
        "ends": [f"{rating['min']:g}", f"{rating['max']:g}"],
        "note": f"mean {rating['mean']:.2f}{part}",
    }


def _steps(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each step the share of all rows that it left, for a bar."""
    before = (steps[0]["interactions"] + steps[0].get("dropped", 0) if steps else 0) or 1
    return [step | {"bar": round(100 * step["interactions"] / before, 2)} for step in steps]


def _quantiles(rows: dict[str, str], found: dict[str, Any], mean: str) -> dict[str, Any]:
    """Make a table of quantiles: headings, and by name what was found, its mean and its
    quantiles.
    """
    found = {name: found[key] for name, key in rows.items() if key in found}
    values = [f.get("quantiles") or f.get("words") or {} for f in found.values()]
    headings = {"0": "least", "0.5": "median", "1": "most"}
    return {
        "headings": [headings.get(q, f"{float(q):.0%}") for q in next(iter(values), {})],
        "rows": [
            {
                "name": name,
                "mean": f.get(mean),
                "quantiles": list(q.values()),
                "share": f.get("share"),
                "distinct": f.get("distinct"),
            }
            for (name, f), q in zip(found.items(), values, strict=True)
        ],
    }
