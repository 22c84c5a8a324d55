"""Settings of the pipeline itself, which change no result."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from glta.config import Cost, Section


class ShardSettings(Section):
    """Divide stages into shards: stages of their own, which several machines can run at once."""

    profile: Annotated[int, Cost()] = Field(
        1,
        ge=1,
        le=1024,
        description="number of shards of the stage profile, which finds words about users and "
        "encodes texts",
    )
    recommend: Annotated[int, Cost()] = Field(
        1,
        ge=1,
        le=1024,
        description="number of shards of the stage recommend; each gets blocks of 2,048 users, and "
        "stays empty without one",
    )
