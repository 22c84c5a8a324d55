"""Sheets to the two plain tables, interactions and items, that are the same for every source."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import polars as pl

from glta.io.parts import TEST, TRAIN, VALID
from glta.io.sheets import (
    LINE,
    PROBLEM,
    BadRows,
    Place,
    is_blank,
    line_place,
    mark,
    need_columns,
    shortened,
)
from glta.io.streams import DOWNLOAD_AGAIN
from glta.io.times import OneForm, by_fraction, read_times

PARTS = {"train": TRAIN, "valid": VALID, "test": TEST}

HIDDEN = "begins or ends with a character that cannot be seen (U+FEFF, U+200B or U+2060)"

Columns = Mapping[str, str | None]
"""The name of each column in the file, by its role (user, item, rating, ...); None: it has none."""


@dataclass(frozen=True)
class Raw:
    """Hold a dataset as its source gives it.

    interactions: columns user_id and item_id (text), rating (float or null), timestamp (integer or
    null), in the order of the file, or of `glta.io.times.by_fraction`. Where the source is split
    already there is a column part, with the numbers of `glta.io.parts`.
    items: columns item_id, title and description (text, never null), categories (list of text),
    then the further columns that were asked for (null where an item has no value); one row an item,
    each with a title.
    counts: rows that were read, mended and dropped.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckedTable:
    """Hold one of the two tables of `Raw`, with its counts."""

    rows: pl.DataFrame
    counts: dict[str, int]


def check_interactions(
    sheets: Iterable[pl.DataFrame],
    name: str,
    *,
    max_bad_share: float,
    columns: Columns,
    parameter: str = "",
    null_words: Collection[str] | None = None,
    place: Place = line_place,
) -> CheckedTable:
    """Turn the sheets of one file into checked interactions.

    name: of the file, for errors. max_bad_share: the largest share of rows that may be dropped.
    columns: the roles user, item, rating, timestamp and, where the source is split, part.
    parameter: the entry of params.yaml that names the columns; empty for an official format.
    null_words: cells that stand for no value; None: NaN is none in ids, and refused in numbers.
    place: writes a value of the column LINE of the sheets, for errors.

    Dates and times in ISO 8601 become milliseconds since 1970 (UTC). A row is bad without a user or
    an item, with a rating that is no number, and with a timestamp that is neither number nor date.
    Raises ValueError for a missing column, for too many bad rows, for a pair in two parts, and for
    a column in which some times are numbers and others dates.
    """
    bad_rows = BadRows(name, max_bad_share, place)
    form = OneForm(name, columns["timestamp"], place)
    tables = []
    for sheet in sheets:
        checked = _interactions(
            sheet, name, columns=columns, parameter=parameter, null_words=null_words
        )
        tables.append(bad_rows.drop(form.checked(checked)))
    bad_rows.check()
    interactions = by_fraction(tables)
    refuse_shared_pairs(interactions, name)
    counts = {"interaction_rows": bad_rows.num_rows, "bad_interaction_rows": bad_rows.num_bad}
    return CheckedTable(interactions, counts)


def refuse_shared_pairs(interactions: pl.DataFrame, name: str) -> None:
    """Raise ValueError when a pair of user and item is in two parts of the source's own split."""
    if "part" not in interactions.columns:
        return
    shared = interactions.filter(pl.col("part").n_unique().over("user_id", "item_id") > 1)
    if shared.height:
        user, item = shared.select("user_id", "item_id").row(0)
        both = shared.filter(user_id=user, item_id=item)["part"].unique()
        where = " and ".join(part for part, number in PARTS.items() if number in both)
        raise ValueError(
            f"{name}: item {item} of user {user} is in {where}; the parts of a split must not "
            "share pairs"
        )


def _interactions(
    sheet: pl.DataFrame,
    name: str,
    *,
    columns: Columns,
    parameter: str,
    null_words: Collection[str] | None,
) -> pl.DataFrame:
    """Return a sheet with the columns of `Raw.interactions`, of times, and its bad rows marked."""
    _need_columns(sheet, name, columns=columns, parameter=parameter)
    values = []
    problems: list[pl.Expr] = []
    for role in ("user", "item"):
        column = _required(columns, role)
        problems += _problems_of_ids(column, role, parameter, null_words)
        values.append(pl.col(column).str.strip_chars().alias(f"{role}_id"))
    wrong, rating = _number(columns["rating"], null_words)
    problems += wrong
    values.append(rating.alias("rating"))
    wrong, times = read_times(sheet, columns["timestamp"], null_words)
    problems += wrong
    values += times
    if (part := columns.get("part")) is not None:
        cell = pl.col(part).str.strip_chars()
        known = cell.replace_strict(PARTS, default=None, return_dtype=pl.Int8)
        text = f"column {part} = {{}}: must be {', '.join(PARTS)}"
        problem = pl.format(text, pl.col(part).fill_null(""))
        problems.append(pl.when(known.is_null()).then(problem))
        values.append(known.alias("part"))
    # one step for all of them, as it takes a copy of the sheet
    return mark(sheet, *problems).select(*values, LINE, PROBLEM)


def _problems_of_ids(
    column: str, role: str, parameter: str, null_words: Collection[str] | None
) -> list[pl.Expr]:
    """Tell of cells without an id and, in the user's files, of ids that are not whole.

    These are long numbers that a spreadsheet has shortened, and ids with a hidden character.
    """
    text = pl.col(column).str.strip_chars().fill_null("")
    word = pl.when(text != "").then(pl.format(" ({})", text)).otherwise(pl.lit(""))
    end = f"; every row needs {'an' if role == 'item' else 'a'} {role}"
    is_id = f", or set {parameter}.null_words if this is an id" if parameter else ""
    fix = pl.when(text != "").then(pl.lit(is_id)).otherwise(pl.lit(""))
    problem = pl.format(f"column {column}: is empty{{}}{end}{{}}", word, fix)
    problems: list[pl.Expr] = [pl.when(is_blank(column, null_words)).then(problem)]
    if parameter:
        is_hidden = text.str.contains(r"^[\u200B\u2060\uFEFF]|[\u200B\u2060\uFEFF]$")
        hidden = pl.format(f"column {column} = {{}}: {HIDDEN}", text)
        problems += [pl.when(is_hidden).then(hidden), shortened(column, small=True)]
    return problems


def check_items(
    sheets: Iterable[pl.DataFrame],
    name: str,
    *,
    max_bad_share: float,
    columns: Columns,
    parameter: str = "",
    separator: str = "|",
    only: pl.DataFrame | None = None,
    features: Sequence[str] = (),
    null_words: Collection[str] | None = None,
    place: Place = line_place,
) -> CheckedTable:
    """Turn the sheets of one file into checked items.

    name, max_bad_share, parameter, place: as for `check_interactions`. null_words: the same, also
    for descriptions and categories; titles have these words as they are. columns: the roles item,
    title, description, categories. separator: between the categories of a cell. only: a column
    item_id with the items to keep, for catalogues much larger than the items with interactions.
    features: further columns to keep, with the type that the sheets give them.

    A row is bad without an id. A second row of the same item is bad too; with `only` it is dropped
    and counted. An item without any text gets its id as title, and is counted. Raises ValueError
    when no item has any text, when none of the items to keep is there, for a missing column, and
    for too many bad rows.
    """
    bad_rows = BadRows(name, max_bad_share, place)
    parts = []
    num_rows = 0
    example = None  # any id of the file, for an error
    for sheet in sheets:
        part = _items(
            sheet,
            name,
            columns=columns,
            parameter=parameter,
            separator=separator,
            features=features,
            null_words=null_words,
        )
        num_rows += part.height
        example = example or part["item_id"].drop_nulls().first()
        if only is not None:
            wanted = part.join(only, on="item_id", how="semi")
            part = pl.concat([wanted, part.filter(pl.col(PROBLEM).is_not_null())])
        parts.append(part)
    items = pl.concat(parts)
    num_repeated = 0
    if only is None:
        items = _mark_repeated(items, _required(columns, "item"))
    else:
        height = items.height
        items = _without_repeated(items)
        num_repeated = height - items.height
    good = bad_rows.drop(items, num_rows)
    bad_rows.check()
    if only is not None and not good.height and only.height:
        raise _other_ids(name, parameter, here=example, there=only["item_id"][0])
    good, num_without_text = _with_titles(good)
    if num_without_text == good.height:
        read = [column for role, column in columns.items() if role != "item" and column]
        fix = DOWNLOAD_AGAIN
        if parameter:
            fix = f"set {parameter}.title, or {parameter}.items: null to use ids as titles"
        raise ValueError(
            f"{name}: no item has text in columns {', '.join(read) or '(none named)'}; {fix}"
        )
    counts = {
        "item_rows": num_rows,
        "bad_item_rows": bad_rows.num_bad,
        "repeated_item_rows": num_repeated,
        "items_without_text": num_without_text,
    }
    return CheckedTable(good, counts)


def _items(
    sheet: pl.DataFrame,
    name: str,
    *,
    columns: Columns,
    parameter: str,
    separator: str,
    features: Sequence[str],
    null_words: Collection[str] | None,
) -> pl.DataFrame:
    """Return a sheet with the columns of `Raw.items`, its bad rows marked."""
    _need_columns(sheet, name, columns=columns, parameter=parameter, features=features)
    item = _required(columns, "item")
    sheet = mark(sheet, *_problems_of_ids(item, "item", parameter, null_words))
    title_words = None if null_words is None else ()  # a film may be titled Nan, None or NA
    return sheet.select(
        pl.col(item).str.strip_chars().alias("item_id"),
        _text(columns["title"], title_words).alias("title"),
        _text(columns["description"], null_words).alias("description"),
        _categories(sheet, columns["categories"], separator, null_words).alias("categories"),
        *features,
        LINE,
        PROBLEM,
    )


def _mark_repeated(items: pl.DataFrame, column: str) -> pl.DataFrame:
    """Mark all rows of an item but the first."""
    first = pl.col(LINE).min().over("item_id")
    again = pl.col(PROBLEM).is_null() & (pl.col(LINE) > first)
    text = f"column {column} = {{}}: occurs a second time (first at {{}})"
    return mark(items, pl.when(again).then(pl.format(text, "item_id", first)))


def _without_repeated(items: pl.DataFrame) -> pl.DataFrame:
    """Return the first row of each item, then all bad rows."""
    bad = pl.col(PROBLEM).is_not_null()
    good = items.filter(~bad).sort(LINE)
    return pl.concat([good.unique("item_id", keep="first", maintain_order=True), items.filter(bad)])


def _with_titles(items: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Give items without any text their id as title; return the items and how many these were."""
    no_title = pl.col("title") == ""
    no_description = pl.col("description") == ""
    no_category = pl.col("categories").list.len() == 0
    empty = no_title & no_description & no_category
    title = pl.when(empty).then("item_id").otherwise("title").alias("title")
    return items.with_columns(title), items.filter(empty).height


def column_fix(parameter: str, role: str, *, optional: bool = False) -> str:
    """Say what to do about a missing column.

    That is to set its name below `parameter`; or, for an official format, where `parameter` is
    empty, to download the file again.
    """
    if not parameter:
        return DOWNLOAD_AGAIN
    return f"set {parameter}.{role}{' (null if there is none)' if optional else ''}"


def column_fixes(columns: Columns, parameter: str, features: Sequence[str] = ()) -> dict[str, str]:
    """Say what to do about each column that is missing."""
    fixes = {
        column: column_fix(parameter, role, optional=role not in ("user", "item"))
        for role, column in columns.items()
        if column is not None
    }
    return fixes | dict.fromkeys(features, column_fix(parameter, "features"))


def _need_columns(
    sheet: pl.DataFrame,
    name: str,
    *,
    columns: Columns,
    parameter: str,
    features: Sequence[str] = (),
) -> None:
    """Raise ValueError when named columns are missing."""
    need_columns(sheet, name, column_fixes(columns, parameter, features))


def _required(columns: Columns, role: str) -> str:
    """Return the name of a column that every file has."""
    column = columns[role]
    assert column is not None, f"no column for {role}"
    return column


def _number(
    column: str | None, null_words: Collection[str] | None
) -> tuple[list[pl.Expr], pl.Expr]:
    """Return the problems of cells that are no finite number, and the numbers of the cells.

    Empty cells are null.
    """
    if column is None:
        return [], pl.lit(None, pl.Float64)
    text = pl.col(column).str.strip_chars()
    nothing = text.is_in(["", *(null_words or ())])
    number = text.cast(pl.Float64, strict=False)
    is_number = number.is_finite() & (number.abs() < 2**63)
    wrong = ~nothing & ~is_number.fill_null(False)
    problem = pl.format(
        f"column {column} = {{}}: must be a number such as 3.5, or empty", pl.col(column)
    )
    return [pl.when(wrong).then(problem)], pl.when(is_number).then(number)


def _text(column: str | None, null_words: Collection[str] | None) -> pl.Expr:
    """Return the trimmed text of cells; blank cells, and those of no column, give ""."""
    if column is None:
        return pl.lit("")
    text = pl.col(column).str.strip_chars()
    return pl.when(is_blank(column, null_words)).then(pl.lit("")).otherwise(text)


def _categories(
    sheet: pl.DataFrame, column: str | None, separator: str, null_words: Collection[str] | None
) -> pl.Expr:
    """Return the distinct categories of cells, in their order; a cell is a text or a list."""
    if column is None:
        return pl.lit([], pl.List(pl.String))
    is_list = isinstance(sheet.schema[column], pl.List)
    lists = pl.col(column) if is_list else _text(column, null_words).str.split(separator)
    word = pl.element().str.strip_chars()
    words = lists.list.eval(word.filter(word != ""))
    return words.list.unique(maintain_order=True).fill_null([])


def join_items(
    interactions: CheckedTable,
    items: CheckedTable | None,
    name: str,
    *,
    parameter: str = "",
    log: str = "",
) -> Raw:
    """Put interactions and items together.

    items: None where the source has no items' table. name: of the items' file, for errors.
    parameter, log: for the user's own files, their entry of params.yaml, and the name of the file
    of interactions. Items with interactions that the table lacks get their id as title, and are
    counted. Raises ValueError when the table lacks all of them, which means that the two files use
    different ids, and when one id is written in two ways.
    """
    used = interactions.rows.select("item_id").unique(maintain_order=True)
    known = items.rows if items else pl.DataFrame(schema={"item_id": pl.String})
    if parameter:
        _refuse_two_spellings(interactions.rows["user_id"], "users", parameter)
        both = pl.concat([used["item_id"], known["item_id"]])
        _refuse_two_spellings(both, "items", parameter)
    absent = used.join(known, on="item_id", how="anti", maintain_order="left")
    if items and parameter:
        _refuse_other_spellings(absent["item_id"], known["item_id"], name, log)
    if items and known.height and used.height and absent.height == used.height:
        raise _other_ids(name, parameter, here=known["item_id"][0], there=used["item_id"][0])
    blank = absent.with_columns(
        pl.col("item_id").alias("title"),
        pl.lit("").alias("description"),
        pl.lit([], pl.List(pl.String)).alias("categories"),
    )
    if items is None:
        without = {"items_without_table": True, "items_missing_from_their_table": 0}
        return Raw(interactions.rows, blank, interactions.counts | without)
    counts = interactions.counts | items.counts
    counts["items_missing_from_their_table"] = absent.height
    num_known = counts["item_rows"] - counts["bad_item_rows"] - counts["repeated_item_rows"]
    num_used = used.height - absent.height
    counts["items_without_interactions"] = num_known - num_used
    return Raw(interactions.rows, pl.concat([known, blank], how="diagonal"), counts)


def _refuse_two_spellings(ids: pl.Series, what: str, parameter: str) -> None:
    """Raise ValueError for an id in two spellings, as 1 and 1.0 or in two forms of Unicode.

    pandas writes the whole numbers of a column with a gap as 1.0. Names of files on macOS have
    accents as characters of their own (NFD), other text has letters with accents (NFC).
    """
    ids = ids.unique()
    composed = pl.DataFrame({"id": ids, "composed": ids.str.normalize("NFC")})
    alike = composed.filter(pl.col("composed").is_duplicated()).sort("composed", "id")
    if alike.height:
        one, other = alike["id"][:2]
        raise ValueError(
            f"{parameter}: ids of {what} have {alike['composed'][0]!r} in two forms of Unicode "
            f"that look alike, {one!a} and {other!a}; write all in one form (NFC)"
        )
    has_point = ids.str.contains(r"^-?\d+\.0+$")
    if not has_point.any():
        return
    point = ids.filter(has_point).unique()
    whole = point.str.replace(r"\.0+$", "")
    twice = point.filter(whole.is_in(ids.unique().implode())).sort()
    if twice.len():
        raise ValueError(
            f"{parameter}: ids of {what} are written as {twice[0]} and as "
            f"{twice[0].partition('.')[0]}; write all without a point (pandas puts it there where "
            "a value is missing; its type Int64 does not)"
        )


SPELLING = r"^(\+\d+|[+-]?\d+\.\d+|[+-]?\d(\.\d+[eE]\+?|[eE]\+)\d{1,2})$"
"""Numbers with a sign, a point or an exponent. 1e5 may be an id in hexadecimal digits."""


def _refuse_other_spellings(absent: pl.Series, known: pl.Series, name: str, log: str) -> None:
    """Raise ValueError when an item without a row is one of the table in another spelling.

    Spreadsheets write 007 as 7, and R writes 100000 as 1e+05. absent: ids of `log` without a row.
    known: ids of the table `name`, which has each spelling as an item of its own.
    """
    here, there = (
        pl.DataFrame({"id": ids, "number": _without_spelling(ids)}) for ids in (absent, known)
    )
    alike = here.join(there, on="number", maintain_order="left_right")
    if alike.height:
        item, _, row = alike.row(0)
        raise ValueError(
            f"{name}: has no row of item {item}, which {log} has, but one of {row}; write ids "
            "alike in both files (spreadsheets and R change ids that look like numbers: keep the "
            f"column as text), or give {item} a row if these are two items"
        )


def _without_spelling(ids: pl.Series) -> pl.Series:
    """Return ids without zeros at their start, and numbers without sign, point and exponent.

    A minus stays.
    """
    special = ids.filter(ids.str.contains(SPELLING)).unique()
    plain = [format(Decimal(text), "f") for text in special]
    plain = [text.rstrip("0").rstrip(".") if "." in text else text for text in plain]
    return ids.replace(special, pl.Series(plain, dtype=pl.String)).str.replace("^(-?)0+", "$1")


def _other_ids(name: str, parameter: str, *, here: object, there: object) -> ValueError:
    return ValueError(
        f"{name}: has none of the interactions' items (it has {here!r}, they have {there!r}); "
        f"{column_fix(parameter, 'item')}"
    )
