"""Base classes and value types of all settings: closed sections, search ranges, checked values."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo


def _bare_digest(value: Any) -> Any:
    """Put a digest into lower case and drop the prefix `sha256:`; leave other values alone."""
    return value.lower().removeprefix("sha256:") if isinstance(value, str) else value


def _plain_name(value: Any) -> str:
    """Return a name that may be that of a folder and of a stage. Raises ValueError for others."""
    if not isinstance(value, str):
        raise ValueError(f'must be text; write it in quotes: "{value}"')
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", value):
        near = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")
        raise ValueError(
            "must have small letters, digits and - only, and begin with a letter or a digit"
            + (f"; write {near}" if near else "")
        )
    return value


def _digest(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(
            "must be the 64 digits 0-9 and a-f of a sha256; `sha256sum FILE` prints them"
        )
    return value


def _named_once(values: list[Any]) -> list[Any]:
    """Return a list whose entries all differ as it is. Raises ValueError for others."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"names {value} twice; name it once")
    return values


def refuse_date(value: Any) -> Any:
    """Return what is no date as it is. Raises ValueError for a date, with its number.

    YAML has dates without quotes, as `date` and `datetime`. A time without a zone is in UTC.
    """
    moment = value
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            moment = datetime(value.year, value.month, value.day)
    except ValueError:
        return value
    if not isinstance(moment, datetime):
        return value
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = math.floor(moment.timestamp())
    raise ValueError(
        "must be a whole number in the dataset's unit of time; this date (UTC) is "
        f"{1000 * seconds} in milliseconds since 1970, as dates of your own files are read, and "
        f"{seconds} in seconds"
    )


Share = Annotated[float, Field(gt=0, lt=1)]  # neither nothing nor all
# strict, as the check of Section sees only values, and not the entries of a list
Positive = Annotated[int, Field(ge=1, strict=True)]
NotNegative = Annotated[int, Field(ge=0, strict=True)]
NamedOnce = AfterValidator(_named_once)
Name = Annotated[str, BeforeValidator(_plain_name)]
Sha256 = Annotated[str, BeforeValidator(_bare_digest), AfterValidator(_digest)]


@dataclass(frozen=True)
class Search:
    """Give the range in which tuning looks for a value.

    low, high: the ends of the range, both included. log: try values evenly on a logarithmic scale
    instead of a linear one. A field of type int takes whole numbers only.
    ordered: whether the value counts only where interactions have times. Tuning leaves it alone
    elsewhere.
    """

    low: float
    high: float
    log: bool = False
    ordered: bool = False


@dataclass(frozen=True)
class Choices:
    """Give the values that tuning tries.

    Numbers are in increasing order, and neighbours are taken to have similar results. Words and
    true and false have no order.
    """

    values: tuple[Any, ...]

    def __init__(self, *values: Any):
        object.__setattr__(self, "values", values)


@dataclass(frozen=True)
class Cost:
    """Mark a value that changes the memory or the time of a stage, and no result."""


@dataclass(frozen=True)
class When:
    """Mark a value that has an effect only while another value of its section is one of `values`.

    key: the name of that other value.
    """

    key: str
    values: tuple[Any, ...]


class Section(BaseModel):
    """Hold one section of params.yaml: unknown keys are refused, values cannot be changed."""

    # inf and nan compare with nothing, so that no other check would find them
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_written_as_such(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what pydantic would turn into a number.

        Those are true and false for any number, and 1.0 and "1" for a whole one. The files of
        parameters would keep them as they are.
        """
        allowed = cls.model_fields[info.field_name].annotation if info.field_name else None
        is_true_or_false = isinstance(value, bool)
        if allowed in (int, int | None):
            if is_true_or_false or isinstance(value, float | str):
                raise ValueError("must be a whole number")
        elif allowed in (float, float | None) and is_true_or_false:
            raise ValueError("must be a number")
        return value

    @classmethod
    def search_space(cls) -> dict[str, Search | Choices]:
        """Return the range or choices of each key that tuning may vary, from its annotation.

        A key of a section within this one has a dot: align_items.learning_rate.
        """
        space: dict[str, Search | Choices] = {}
        for key, field in cls.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, Section):
                inner = kind.search_space()
                space |= {f"{key}.{name}": search for name, search in inner.items()}
            for mark in field.metadata:
                if isinstance(mark, Search | Choices):
                    space[key] = mark
        return space

    def inputs(self) -> dict[str, Any]:
        """Return the values that results depend on, by their names in params.yaml.

        Values marked `Cost` are left out, and values marked `When` that have no effect.
        """
        found = {}
        for name, field in file_fields(type(self)).items():
            value = getattr(self, name.replace("-", "_"))
            if not any(self._ignores(mark) for mark in field.metadata):
                found[name] = value.inputs() if isinstance(value, Section) else value
        return found

    def _ignores(self, mark: Any) -> bool:
        """Tell whether a mark says that no result depends on the value."""
        if isinstance(mark, When):
            return getattr(self, mark.key) not in mark.values
        return isinstance(mark, Cost)

    def changed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return all values as a dict, with the given ones replaced.

        A mapping for a section within this one replaces its given keys alone. The result is not
        checked.
        """
        result = self.model_dump()
        for key, value in values.items():
            inner = getattr(self, key.replace("-", "_"), None)
            if isinstance(inner, Section) and isinstance(value, dict):
                result[key] = inner.changed(value)
            else:
                result[key] = value
        return result


class NoSettings(Section):
    """Nothing to set."""


def file_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a section by the names that they have in params.yaml."""
    return {field.alias or key: field for key, field in model.model_fields.items()}
