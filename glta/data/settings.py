"""Parameters of cleaning, filtering and splitting."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from glta.config import Section, Share


class PrepareSettings(Section):
    """Clean, filter, split."""

    min_rating: float | None = Field(
        None, description="drop interactions rated lower; null keeps all"
    )
    duplicates: Literal["last", "first"] = Field(
        "last", description="which of several ratings of one pair stays, by time"
    )
    since: int | None = Field(
        None,
        description="drop interactions before this time, in the dataset's own unit; null keeps all",
    )
    until: int | None = Field(None, description="drop interactions after this time")
    user_core: int = Field(
        5, ge=1, description="every user keeps at least so many items (iterated with item_core)"
    )
    item_core: int = Field(5, ge=1, description="every item keeps at least so many users")
    split: Literal["random", "leave_last_out", "global_time", "given"] = Field(
        "random",
        description="random: per user, by shares; leave_last_out: last item test, the one before "
        "valid; global_time: by date; "
        "given: by the source",
    )
    valid_share: Share = Field(
        0.1,
        description="of each user's items (random) or training items (given), or of all "
        "interactions (global_time)",
    )
    test_share: Share = Field(0.2, description="as valid_share")
    target_share: Share = Field(
        0.25,
        description="of each user's training items, kept from the alignment's graph as its "
        "targets (leak-free)",
    )
    new_item_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="of the items: all their interactions are for test alone, to measure cold "
        "start; 0: none",
    )
    max_bad_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of unreadable rows to drop and report before it is an error",
    )
    published: Literal["require", "report"] = Field(
        "require",
        description="presets of papers: refuse to go on with other counts than the published "
        "ones, or only note them",
    )
