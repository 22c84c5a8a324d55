"""Cells with a time: numbers as they are, dates as milliseconds since 1970."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from glta.io.sheets import LINE, PROBLEM, Place, shortened

IS_DATE = "__is_date__"
"""Column of a checked sheet: true where a time was a date, null where there was none."""

FRACTION = "__fraction__"
"""Column of a checked sheet: what was cut off from a number that is not whole, otherwise 0."""

ISO_8601 = (
    r"^(?<date>\d{4}-\d{2}-\d{2})"
    r"([T ](?<minute>\d{2}:\d{2})(:(?<second>\d{2})([.,](?<fraction>\d{1,9}))?)?"
    r" ?(?<zone>Z|UTC|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?$"
)
EXPECTED = (
    "a number that grows with time, such as seconds since 1970, or a date such as 2020-01-31 "
    "18:30:00+01:00"
)


def read_times(
    sheet: pl.DataFrame, column: str | None, null_words: Collection[str] | None
) -> tuple[list[pl.Expr], list[pl.Expr]]:
    """Return the problems of bad cells, and the expressions of timestamp, IS_DATE and FRACTION.

    Numbers that are not whole are rounded down (`OneOrder`). Dates and times in ISO 8601 become
    milliseconds since 1970; finer parts are cut off, and without a zone they are in UTC. A column
    that is of a type of dates, as in Parquet, has dates alone. null_words: cells that stand for no
    time, as the empty ones do.
    """
    if column is None:
        nothing = pl.lit(None, pl.Int64).alias("timestamp")
        return [], [nothing, pl.lit(None, pl.Boolean).alias(IS_DATE), _fraction(pl.lit(0.0))]
    if sheet.schema[column].is_temporal():
        moment = pl.col(column).cast(pl.Datetime("ms")).cast(pl.Int64).alias("timestamp")
        is_date = pl.when(moment.is_not_null()).then(True).alias(IS_DATE)
        return [], [moment, is_date, _fraction(pl.lit(0.0))]
    text = pl.col(column).str.strip_chars()
    # A float holds seconds exactly but not nanoseconds, so whole numbers are read as integers.
    exact = text.cast(pl.Int64, strict=False)
    number = text.cast(pl.Float64, strict=False)
    is_number = (number.is_finite() & (number.abs() < 2**63)).fill_null(False)
    rounded = pl.when(is_number).then(number.floor().cast(pl.Int64, strict=False))
    nothing = text.is_in(["", *(null_words or ())]).fill_null(True)
    other = ~nothing & ~is_number
    has_dates = sheet.select(other.any()).item()  # to look for dates takes long
    date = _milliseconds(text) if has_dates else pl.lit(None, pl.Int64)
    wrong = other & date.is_null()
    problem = pl.format(f"column {column} = {{}}: must be {EXPECTED}, or empty", pl.col(column))
    time = pl.coalesce(exact, rounded, date).alias("timestamp")
    is_date = pl.when(time.is_not_null()).then(~is_number).alias(IS_DATE)
    cut = _fraction(pl.when(is_number & exact.is_null()).then(number - number.floor()))
    return [shortened(column), pl.when(wrong).then(problem)], [time, is_date, cut]


def _fraction(value: pl.Expr) -> pl.Expr:
    return value.fill_null(0.0).alias(FRACTION)


def _milliseconds(text: pl.Expr) -> pl.Expr:
    """Return the milliseconds since 1970 of dates in ISO 8601; null for all other text."""
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
    fraction = part("fraction", "").str.slice(0, 3).str.pad_end(3, "0").cast(pl.Int64)
    zone = part("zone", "").str.replace_all(":", "", literal=True)
    hours = zone.str.slice(1, 2).cast(pl.Int64, strict=False).fill_null(0)
    minutes = zone.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    return seconds.cast(pl.Int64) + fraction - sign * (hours * 60 + minutes) * 60_000


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


class OneOrder:
    """Refuse fractions of times that tell which of two interactions of a user was first.

    Rounded down, the two would be equal, and their order would be that of the rows of the file.
    name: of the file, and column: of times, for the error.
    """

    def __init__(self, name: str, column: str | None):
        self.name = name
        self.column = column
        self.cut: list[pl.DataFrame] = []  # the times with fractions, of each sheet that has some

    def checked(self, sheet: pl.DataFrame) -> pl.DataFrame:
        """Return a sheet without FRACTION. Its fractions are kept for `check`."""
        cut = sheet.filter(pl.col(PROBLEM).is_null() & (pl.col(FRACTION) > 0))
        if cut.height:
            self.cut.append(cut.select("user_id", "timestamp", FRACTION))
        return sheet.drop(FRACTION)

    def check(self, rows: pl.DataFrame) -> None:
        """Raise ValueError when two times of a user differ in their fractions alone.

        rows: of all sheets, without bad ones. Those that are not in `cut` have whole times.
        """
        if not self.cut:
            return
        place = ["user_id", "timestamp"]
        cut = pl.concat(self.cut).group_by(place).agg(pl.col(FRACTION), pl.len().alias("cut"))
        all_rows = rows.group_by(place).agg(pl.len().alias("all"))
        whole = pl.when(pl.col("all") > pl.col("cut")).then([0.0]).otherwise([])
        both = cut.join(all_rows, on=place, how="left").select(
            *place, pl.concat_list(FRACTION, whole).list.unique().list.sort()
        )
        lost = both.filter(pl.col(FRACTION).list.len() > 1)
        if not lost.height:
            return
        user, time, fractions = lost.sort(place).row(0)
        first, second = (time + fraction for fraction in fractions[:2])
        raise ValueError(
            f"{self.name}: column {self.column} has {first} and {second} for user {user}: "
            "times are rounded down to whole numbers, and the order of the two would be lost; "
            "write times in a finer unit, such as milliseconds in place of seconds"
        )
