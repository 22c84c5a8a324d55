"""Say in words how a dataset was split, and what of the future the methods have seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glta.report.wording import percent

SPLITS = {
    "random": "Random split: each user's test items are a random part of the user's items",
    "leave_last_out": "Leave-last-out split: each user's last item is for test",
    "global_time": "Split by global time: the last part of all interactions is for test",
    "given": "The split is that of the source",
}
"""Parameter prepare.split in words."""

WITHOUT = {
    "users_without_valid": "no validation item, and no part in the choice of models",
    "users_without_test": "no test item, and no part in these numbers",
}
"""Fields of counts["protocol"] that count users, and what such users lack."""


def protocol_text(counts: Mapping[str, Any]) -> str:
    """Name the protocol of a split and its leak, in a sentence for each.

    counts: the content of counts.json (`glta.data.statistics`). What it does not have is not said.
    That every user has a part is not said either.
    """
    split = counts.get("split")
    found = counts.get("protocol") or {}
    sentences = [SPLITS[split]] if split in SPLITS else []
    later = found.get("train_later_than_test")
    if later:
        sentences.append(
            f"It leaks the future: {percent(later)} of the training pairs are later than a test "
            "pair of another user, so methods learn what was not known yet"
        )
    elif later == 0:
        sentences.append("No training pair is later than a test pair of another user")
    cold = found.get("users_without_history")
    if cold is not None and (cold or split == "global_time"):
        tested = found.get("tested_without_history")
        also = "" if tested is None else f", and {tested:,} of them have test items"
        sentences.append(f"{_users(cold)} no training item{also}")
    sentences += [
        f"{_users(found[name])} {what}" for name, what in WITHOUT.items() if found.get(name)
    ]
    return "".join(f"{sentence}. " for sentence in sentences).rstrip()


def _users(number: int) -> str:
    """Begin a sentence about some users: 1 user has, 17 users have."""
    return "1 user has" if number == 1 else f"{number:,} users have"
