"""Settings of the language models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from glta.config import Cost, Positive, Section, Sha256, When


class LanguageSettings(Section):
    """Choose the frozen language model."""

    model: str = Field(
        "all-MiniLM-L6-v2",
        description="all-MiniLM-L6-v2 (packaged), or one of `glta models`, a hub id or a folder "
        "with safetensors; docs/method.md says which models are understood",
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


SMALL = "small"
OWN_SHAPE = When("model", (SMALL,))


class CausalSettings(Section):
    """Choose the causal language model that methods train to generate."""

    model: str = Field(
        SMALL,
        description="small (LLaMA's layers in the shape below, untrained, with the tokenizer of "
        "the packaged encoder), or one of `glta models`, a hub id or a folder with safetensors",
    )
    sha256: Sha256 | None = Field(
        None,
        description="checksum of the model's files; other files are an error; `glta params sync` "
        "sets that of a folder; null: any",
    )
    width: Annotated[Positive, OWN_SHAPE] = Field(
        128, le=16384, description="small: width of tokens and layers"
    )
    layers: Annotated[Positive, OWN_SHAPE] = Field(3, le=256, description="small: layers")
    heads: Annotated[Positive, OWN_SHAPE] = Field(
        4, le=256, description="small: attention heads of a layer; width / heads must be even"
    )
    hidden_dim: Annotated[Positive, OWN_SHAPE] = Field(
        512, le=65536, description="small: width between the matrices of a feed-forward layer"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the numbers; auto: bfloat16 on CUDA, float32 on CPU"
    )

    @model_validator(mode="after")
    def _check_heads(self) -> CausalSettings:
        """Refuse heads that do not divide the width into even parts, as rotary positions need."""
        if self.model == SMALL and self.width % (2 * self.heads):
            raise ValueError(
                f"causal.width = {self.width} must be a multiple of 2 x causal.heads "
                f"= {2 * self.heads}"
            )
        return self
