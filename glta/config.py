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
        """Return the keys that tuning may vary, as their annotations declare them.

        Keys of a section within this one are dotted: align_items.learning_rate.
        """
        found = {}
        for key, field in cls.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, Section):
                inner = kind.search_space()
                found |= {f"{key}.{name}": search for name, search in inner.items()}
            for mark in field.metadata:
                if isinstance(mark, Search):
                    found[key] = mark
        return found

    def changed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return all values with some replaced, within nested sections too."""
        whole = self.model_dump()
        for key, value in values.items():
            inner = getattr(self, key.replace("-", "_"), None)
            is_nested = isinstance(inner, Section) and isinstance(value, dict)
            whole[key] = inner.changed(value) if is_nested else value
        return whole


class NoSettings(Section):
    """Nothing to set."""


def file_fields(model: type[BaseModel]) -> dict:
    """Return the fields by the names that they have in the file."""
    return {field.alias or key: field for key, field in model.model_fields.items()}
