"""Settings of cleaning, filtering and splitting a dataset."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from glta.config import Section, Share, refuse_date


class PrepareSettings(Section):
    """Clean, filter and split the dataset."""

    min_rating: float | None = Field(
        None, description="drop interactions with a lower rating; null: keep all"
    )
    duplicates: Literal["last", "first"] = Field(
        "last", description="which of several ratings of a user-item pair stays, by time"
    )
    since: int | None = Field(
        None,
        description="drop interactions before this time, in the dataset's unit; null: keep all",
    )
    until: int | None = Field(None, description="drop interactions after this time; null: keep all")
    user_core: int = Field(
        5,
        ge=1,
        description="fewest items of a user; users with fewer are dropped, in turn with item_core",
    )
    item_core: int = Field(
        5, ge=1, description="fewest users of an item; items with fewer are dropped"
    )
    split: Literal["random", "leave_last_out", "global_time", "given"] = Field(
        "random",
        description="random: shares of each user's items; leave_last_out: each user's last item is "
        "test, the one before is validation; global_time: shares of all, by time; given: as in the "
        "source",
    )
    valid_share: Share = Field(
        0.1,
        description="validation share, of each user's items (random), of each user's training "
        "items (given) or of all interactions (global_time)",
    )
    test_share: Share = Field(
        0.2,
        description="test share, of each user's items (random) or of all interactions "
        "(global_time)",
    )
    split_seed: int = Field(
        0,
        ge=0,
        description="chooses the test pairs (random) and the new items, the same for all `seeds`; "
        "the seeds choose the validation pairs (random, given), the targets and the initial "
        "weights",
    )
    target_share: Share = Field(
        0.25,
        description="share of each user's training items that are GLTA's targets; they are left "
        "out of its graph, so that no target leaks into it",
    )
    new_item_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the items whose interactions are all test, to measure cold start; "
        "0: none",
    )
    max_bad_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of unreadable rows that are dropped and reported; more are an error",
    )
    published: Literal["require", "report"] = Field(
        "require",
        description="for presets of papers: whether counts other than the published ones are an "
        "error (require) or are only reported (report)",
    )

    @field_validator("since", "until", mode="before")
    @classmethod
    def _is_no_date(cls, value: Any) -> Any:
        """Refuse a date with a message that has its number, as the file has no unit of time."""
        return refuse_date(value)
