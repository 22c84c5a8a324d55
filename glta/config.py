"""The ground floor of all parameters: closed, frozen sections, ranges for tuning, and value
types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(gt=0, lt=1)]


Positive = Annotated[int, Field(ge=1)]


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


Sha256 = Annotated[
    str,
    BeforeValidator(
        lambda digest: digest.lower().removeprefix("sha256:") if isinstance(digest, str) else digest
    ),
    Field(pattern=r"^[0-9a-f]{64}$"),
]


@dataclass(frozen=True)
class Search:
    """Say where tuning looks for a value: from low to high, evenly or by factors (log); an integer
    key in whole numbers.
    """

    low: float
    high: float
    log: bool = False


class Section(BaseModel):
    """Refuse unknown keys, and never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def search_space(cls) -> dict[str, Search]:
        """Return the keys that tuning may vary, as their annotations declare them."""
        found = {
            key: [m for m in field.metadata if isinstance(m, Search)]
            for key, field in cls.model_fields.items()
        }
        return {key: searches[0] for key, searches in found.items() if searches}

    def changed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return all values with some replaced, within nested sections too."""
        whole = self.model_dump()
        nested = {
            k for k, v in values.items() if isinstance(whole.get(k), dict) and isinstance(v, dict)
        }
        return whole | {k: whole[k] | v if k in nested else v for k, v in values.items()}


class NoSettings(Section):
    """Nothing to set."""


def file_fields(model: type[BaseModel]) -> dict:
    """Return the fields by the names that they have in the file."""
    return {field.alias or key: field for key, field in model.model_fields.items()}
