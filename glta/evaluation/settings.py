"""Define the parameters of top-K lists and of how they are measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from glta.config import NamedOnce, Positive, Section, Share


class RecommendSettings(Section):
    """Write top-K lists."""

    k: int = Field(
        50,
        ge=1,
        # the files of lists hold ranks as 16 bits
        le=32_767,
        description="length of the lists; at least the largest cut-off",
    )
    refit: bool = Field(
        False,
        description="true: the lists for test come from a second fit, on training and validation "
        "pairs together, with what the first fit chose on validation",
    )
    test_history: Literal["by_split", "seen", "train"] = Field(
        "by_split",
        description="items by which methods that score a list of items make test lists; seen: "
        "training and validation items; train: training items alone, as all other methods have "
        "them; by_split: seen in a split by time, as published, and train in others",
    )


def uses_seen_items(settings: RecommendSettings, split: str) -> bool:
    """Return whether the histories of test lists have the validation items. split: of the data."""
    if settings.test_history == "by_split":
        return split in ("leave_last_out", "global_time")
    return settings.test_history == "seen"


class EvaluateSettings(Section):
    """Measure the lists."""

    cutoffs: Annotated[list[Positive], NamedOnce] = Field(
        [5, 10, 20], min_length=1, description="list lengths K"
    )
    cold_user_items: int = Field(
        7, ge=1, description="a user with at most this many training items is cold"
    )
    cold_item_users: int = Field(
        5, ge=1, description="an item with at most this many training users is cold"
    )
    popular_share: Share = Field(
        0.1, description="share of the items that count as popular in the popularity share"
    )
