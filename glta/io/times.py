"""Cells with a time: numbers as they are, dates as milliseconds since 1970."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from glta.io.sheets import LINE, PROBLEM, Place, shortened

IS_DATE = "__is_date__"
"""Column of a checked sheet: true where a time was a date, null where there was none."""

FRACTION = "__fraction__"
"""Column of a checked sheet: what rounding down cut off from a time.

It is the fraction of a number, and the nanoseconds of a date. They are not divided: the last digit
of Polars' quotients depends on what else is in a sheet.
"""

ISO_8601 = (
    r"^(?<date>\d{4}-\d{2}-\d{2})"
    r"([T ](?<minute>\d{2}:\d{2})(:(?<second>\d{2})([.,](?<fraction>\d{1,9}))?)?"
    r" ?(?<zone>Z|UTC|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?$"
)
PER_MILLISECOND = {"us": 1_000, "ns": 1_000_000}  # by the unit of a type of dates
EXPECTED = (
    "a number that grows with time, such as seconds since 1970, or a date such as 2020-01-31 "
    "18:30:00+01:00"
)


def read_times(
    sheet: pl.DataFrame, column: str | None, null_words: Collection[str] | None
) -> tuple[list[pl.Expr], list[pl.Expr]]:
    """Return the problems of bad cells, and the expressions of timestamp, IS_DATE and FRACTION.

    Numbers are rounded down to whole ones, and dates and times in ISO 8601 to milliseconds since
    1970; see `by_fraction`. Without a zone they are in UTC. A column that is of a type of dates, as
    in Parquet, has dates alone. null_words: cells that stand for no time, as the empty ones do.
    """
    if column is None:
        nothing = pl.lit(None, pl.Int64).alias("timestamp")
        return [], [nothing, pl.lit(None, pl.Boolean).alias(IS_DATE), _fraction(pl.lit(0.0))]
    kind = sheet.schema[column]
    if kind.is_temporal():
        unit = PER_MILLISECOND.get(getattr(kind, "time_unit", "ms"), 1)
        if unit == 1:
            moment = pl.col(column).cast(pl.Datetime("ms")).cast(pl.Int64)
            cut = pl.lit(0.0)
        else:
            moment = pl.col(column).to_physical() // unit
            cut = (pl.col(column).to_physical() - moment * unit) * (1_000_000 // unit)
        is_date = pl.when(moment.is_not_null()).then(True).alias(IS_DATE)
        return [], [moment.alias("timestamp"), is_date, _fraction(cut)]
    text = pl.col(column).str.strip_chars()
    # A float holds seconds exactly but not nanoseconds, so whole numbers are read as integers.
    exact = text.cast(pl.Int64, strict=False)
    number = text.cast(pl.Float64, strict=False)
    is_number = (number.is_finite() & (number.abs() < 2**63)).fill_null(False)
    rounded = pl.when(is_number).then(number.floor().cast(pl.Int64, strict=False))
    nothing = text.is_in(["", *(null_words or ())]).fill_null(True)
    other = ~nothing & ~is_number
    has_dates = sheet.select(other.any()).item()  # to look for dates takes long
    date, finer = _milliseconds(text) if has_dates else (pl.lit(None, pl.Int64), pl.lit(0.0))
    wrong = other & date.is_null()
    problem = pl.format(f"column {column} = {{}}: must be {EXPECTED}, or empty", pl.col(column))
    time = pl.coalesce(exact, rounded, date).alias("timestamp")
    is_date = pl.when(time.is_not_null()).then(~is_number).alias(IS_DATE)
    of_number = pl.when(exact.is_null()).then(number - number.floor())
    cut = _fraction(pl.when(is_number).then(of_number).otherwise(finer))
    return [shortened(column), pl.when(wrong).then(problem)], [time, is_date, cut]


def _fraction(value: pl.Expr) -> pl.Expr:
    return value.cast(pl.Float64).fill_null(0.0).alias(FRACTION)


def _milliseconds(text: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Return the milliseconds since 1970 of dates in ISO 8601, and the nanoseconds cut off.

    They are null and 0 for all other text.
    """
    parts = text.str.extract_groups(ISO_8601)

    def part(name: str, missing: str) -> pl.Expr:
        return parts.struct.field(name).fill_null(missing)

    moment = pl.concat_str(
        parts.struct.field("date"),
        pl.lit("T"),
        part("minute", "00:00"),
        pl.lit(":"),
        part("second", "00"),
    )
    seconds = moment.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="ms", strict=False)
    digits = part("fraction", "").str.pad_end(9, "0")
    fraction = digits.str.slice(0, 3).cast(pl.Int64)
    finer = digits.str.slice(3).cast(pl.Float64)
    zone = part("zone", "").str.replace_all(":", "", literal=True)
    hours = zone.str.slice(1, 2).cast(pl.Int64, strict=False).fill_null(0)
    minutes = zone.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    whole = seconds.cast(pl.Int64) + fraction - sign * (hours * 60 + minutes) * 60_000
    return whole, finer


class OneForm:
    """Refuse a column of times in which some are numbers and others are dates.

    Their order would mean nothing: the numbers may be seconds, and the dates are milliseconds.
    name: of the file, column: of times, and place: writes a value of LINE, for the error.
    """

    def __init__(self, name: str, column: str | None, place: Place):
        self.name = name
        self.column = column
        self.place = place
        self.first: dict[bool, int] = {}  # line of the first number and of the first date

    def checked(self, sheet: pl.DataFrame) -> pl.DataFrame:
        """Return a sheet without IS_DATE. Raises ValueError when both forms have occurred."""
        good = sheet.filter(pl.col(PROBLEM).is_null() & pl.col(IS_DATE).is_not_null())
        for is_date, line in good.group_by(IS_DATE).agg(pl.col(LINE).min()).rows():
            self.first.setdefault(is_date, line)
        if len(self.first) == 2:
            raise ValueError(
                f"{self.name}: column {self.column} has a number in {self.place(self.first[False])}"
                f" and a date in {self.place(self.first[True])}; write all times alike"
            )
        return sheet.drop(IS_DATE)


def by_fraction(sheets: list[pl.DataFrame]) -> pl.DataFrame:
    """Put sheets together, without FRACTION. Rows with a smaller fraction come first.

    Of equal times, the first row counts as the earlier one. So the order of two times that differ
    in their fractions alone is not lost, wherever their rows are in the file.
    """
    rows = pl.concat(sheets)
    if rows.select((pl.col(FRACTION) > 0).any()).item():
        rows = rows.sort(FRACTION, maintain_order=True)
    return rows.drop(FRACTION)
