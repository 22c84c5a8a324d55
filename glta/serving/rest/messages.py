"""Define what the REST interface takes and returns. Unknown keys and other types are refused."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from glta.serving.answers import Way

MAX_K = 1000
MAX_ITEMS = 1000
"""Most ids in a list of a request."""

Id = Annotated[str, Field(min_length=1, max_length=1000)]
SomeIds = Annotated[list[Id], Field(max_length=MAX_ITEMS)]


class ListRequest(BaseModel):
    """Hold what all requests for a list have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    k: int = Field(10, ge=1, le=MAX_K, description="length of the list")
    only: SomeIds | None = Field(
        None, description="ids of the items that may be shown; null: all", examples=[None]
    )
    without: SomeIds = Field([], description="ids of items to leave out", examples=[[]])


class RecommendRequest(ListRequest):
    """Ask for a list for a user, or by a list of items."""

    user: Id | None = Field(
        None, description="id of a user; an unknown one is scored by items", examples=["17"]
    )
    items: SomeIds = Field(
        [], description="ids of what the user has, oldest first", examples=[["1", "2"]]
    )
    reasons: int = Field(
        0, ge=0, le=10, description="items of the user, at most, that each item is shown for"
    )


class SimilarRequest(ListRequest):
    """Ask for the items that are recommended to somebody who has one item alone."""

    item: Id = Field(description="id of an item", examples=["1"])


class Named(BaseModel):
    """Name an item."""

    item_id: str = Field(examples=["551"])
    title: str = Field(examples=["Letters from the Symphony"])


class Recommended(Named):
    """Hold an item of a list. because: the items of the user that it is shown for."""

    score: float = Field(examples=[0.5])
    because: list[Named] = []


class ListAnswer(BaseModel):
    """Hold a list, best first, and the way that it was made."""

    way: Way
    items: list[Recommended]


class FoundTitles(BaseModel):
    """Hold items with a text in their title."""

    items: list[Named]


class Health(BaseModel):
    """Say what is served. digest: of the bundle."""

    status: str = Field(examples=["ok"])
    method: str = Field(examples=["ease"])
    title: str = Field(examples=["EASE"])
    dataset: str = Field(examples=["sample"])
    seed: int = Field(examples=[0])
    users: int = Field(examples=[800])
    items: int = Field(examples=[600])
    store: bool = Field(description="whether lists of users are looked up")
    digest: str = Field(examples=["0f…"])


class Problem(BaseModel):
    """Say in one sentence what is wrong with a request."""

    error: str
