"""What a method shows of itself in the report: tables and pictures beside its model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    model_validator,
)

from glta.pictures.safe_svg import safe_svg
from glta.storage.files import read_json, write_json
from glta.storage.schema import check_schema

SCHEMA = 1
"""Counts the forms that exhibit.json has had."""

FILE = "exhibit.json"

Entry = str | StrictInt | StrictFloat | None
"""One entry of a table; None is shown as a dash."""

Words = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    """Hold values that are checked once and cannot be changed. NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ExhibitTable(_Part):
    """Hold a table. The first entry of a row says what the row is about.

    rows: as long as columns. note: how to read it. digits: the decimals of numbers that are not
    whole. Over several seeds, the report shows the mean and the standard deviation of each number.
    It can do so only where all seeds have the same title, columns, and texts in the same places.
    """

    title: Words
    columns: tuple[str, ...] = Field(min_length=1)
    rows: tuple[tuple[Entry, ...], ...]
    note: str = ""
    digits: int = Field(4, ge=0, le=10)

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"row {number} of the table {self.title!r} has {len(row)} entries for "
                    f"{len(self.columns)} columns; give one a column"
                )
        return self


class ExhibitPicture(_Part):
    """Hold a picture. caption: what to see in it.

    svg: as `glta.pictures.svg.Drawing.svg` returns it, with the classes of its colours. It is
    checked and written again by `glta.pictures.safe_svg`.
    """

    title: Words
    caption: str
    svg: Annotated[str, AfterValidator(safe_svg)]


class Exhibit(_Part):
    """Hold what a method shows of itself. The report shows it in a section of its own.

    text: one or a few plain sentences: what it shows, and which values are good. It must come from
    training and validation pairs alone, as all that a step makes. Raises ValidationError, a
    ValueError, for a picture that may not be in a page and a row that does not fit its columns.
    """

    title: Words
    text: str
    tables: tuple[ExhibitTable, ...] = ()
    pictures: tuple[ExhibitPicture, ...] = ()

    def save(self, folder: Path) -> None:
        """Write exhibit.json into the folder of a model."""
        write_json(folder / FILE, self.as_json())

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read what `save` wrote; None where the model has no exhibit.

        Raises ValueError that names the file when it is damaged or of another schema.
        """
        path = folder / FILE
        return cls.from_json(read_json(path), path) if path.exists() else None

    def as_json(self) -> dict[str, Any]:
        """Return the content of exhibit.json."""
        return {"schema": SCHEMA, **self.model_dump(mode="json")}

    @classmethod
    def from_json(cls, value: Any, path: Path) -> Self:
        """Check the content of exhibit.json. path: the file it is from, for the message."""
        about = value if isinstance(value, dict) else {}
        check_schema(about, SCHEMA, path)
        try:
            return cls.model_validate({k: v for k, v in about.items() if k != "schema"})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"{path}: {place}: {first['msg']}; make it again: run the stage that writes it"
            ) from None
