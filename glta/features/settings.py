"""Parameters of the texts that describe items and users."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from glta.config import Section


class ProfileSettings(Section):
    """Write item texts, and per user tags and likely interests from training items only."""

    text: list[Literal["title", "description", "categories"]] = Field(
        ["title", "categories", "description"],
        min_length=1,
        description="columns of an item's text, in this order",
    )
    max_words: int = Field(48, ge=4, description="an item's text is cut here")
    provider: Literal["extractive", "language_model", "endpoint"] = Field(
        "extractive",
        description="who writes user tags: keywords of their items, a Hugging Face causal model, "
        "an OpenAI-compatible server",
    )
    num_tags: int = Field(6, ge=1, le=64, description="profile words per user")
    num_interests: int = Field(6, ge=1, le=64, description="predicted-interest words per user")
    items_shown: int = Field(
        20, ge=1, description="training items described to a generating provider"
    )
    generator: str = Field("", description="language_model: hub id or folder of a causal model")
    endpoint: str = Field(
        "",
        description="endpoint: base address, e.g. http://127.0.0.1:8000/v1; the key is read from "
        "OPENAI_API_KEY",
    )
    endpoint_model: str = Field("", description="endpoint: name of the model")
    max_new_tokens: int = Field(64, ge=8, le=4096, description="length of an answer")
