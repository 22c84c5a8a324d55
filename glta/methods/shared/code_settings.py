"""Settings of the step that makes item codes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from glta.config import Choices
from glta.nn.quantize.settings import CodeSettings


class VectorCodes(CodeSettings):
    """Make item codes from vectors of a behavioural model, or from texts."""

    vectors: Annotated[Literal["graph", "text"], Choices("graph", "text")] = Field(
        "graph",
        description="what is quantised; graph: LightGCN's propagated item embeddings; text: the "
        "items' text states",
    )
