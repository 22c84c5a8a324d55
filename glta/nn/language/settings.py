"""Settings of the language model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from glta.config import Cost, Section, Sha256


class LanguageSettings(Section):
    """Choose the frozen language model."""

    model: str = Field(
        "all-MiniLM-L6-v2",
        description="all-MiniLM-L6-v2 (packaged), or a hub id or a folder with safetensors; "
        "docs/method.md says which models are understood",
    )
    sha256: Sha256 | None = Field(
        None,
        description="checksum of the model's files; other files are an error; `glta params sync` "
        "sets that of a folder; null: any, except for the packaged model",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the numbers; auto: bfloat16 on CUDA, float32 on CPU"
    )
    batch_tokens: Annotated[int, Cost()] = Field(
        8192, ge=64, description="most tokens of one forward pass of the language model"
    )

    def at(self, precision: str | None) -> LanguageSettings:
        """Return the settings with another precision. None: with the same."""
        return self if precision is None else self.model_copy(update={"precision": precision})
