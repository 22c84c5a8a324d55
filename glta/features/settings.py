"""Settings of the texts that describe items and users."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from glta.config import NamedOnce, Section, Sha256, When

ASKED = When("provider", ("language_model", "endpoint"))
GENERATED = When("provider", ("language_model",))
SERVED = When("provider", ("endpoint",))


class ProfileSettings(Section):
    """Write item texts, and tags and likely interests of users from training items alone."""

    text: Annotated[list[Literal["title", "description", "categories"]], NamedOnce] = Field(
        default=["title", "categories", "description"],
        min_length=1,
        description="columns of items that make up an item's text, in this order",
    )
    max_words: int = Field(
        default=48, ge=4, description="words of an item's text; longer ones are cut"
    )
    provider: Literal["extractive", "language_model", "endpoint"] = Field(
        default="extractive",
        description="source of tags and interests: words of the item texts, a Hugging Face causal "
        "model, or an OpenAI-compatible server",
    )
    num_tags: int = Field(default=6, ge=1, le=64, description="tags of a user")
    num_interests: int = Field(default=6, ge=1, le=64, description="likely interests of a user")
    items_shown: Annotated[int, ASKED] = Field(
        default=20,
        ge=1,
        description="language_model, endpoint: items of a user in a prompt, at most",
    )
    generator: Annotated[str, GENERATED] = Field(
        default="",
        description="language_model: one of `glta models`, hub id or folder of a causal model",
    )
    generator_sha256: Annotated[Sha256 | None, GENERATED] = Field(
        default=None,
        description="checksum of the generator's files; other files are an error; `glta params "
        "sync` sets that of a folder; null: any",
    )
    endpoint: Annotated[str, SERVED] = Field(
        default="",
        description="endpoint: base address, e.g. http://127.0.0.1:8000/v1; the key is read from "
        "OPENAI_API_KEY",
    )
    endpoint_model: Annotated[str, SERVED] = Field(
        default="", description="endpoint: name of the model"
    )
    max_new_tokens: Annotated[int, ASKED] = Field(
        default=64,
        ge=8,
        le=4096,
        description="language_model, endpoint: tokens of an answer, at most",
    )
