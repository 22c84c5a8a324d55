"""The user's own tables in other people's forms: each is read right, or refused in one line."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glta.datasets.readers import read_dataset
from glta.datasets.settings import TableSettings
from glta.io.raw import Raw
from glta.io.values import categories_of

HEAD = "user_id,item_id,rating,timestamp\n"
LOG = HEAD + "1,a,5,100\n1,b,3.5,101\n2,a,,\n"
ROWS = [("1", "a", 5.0, 100), ("1", "b", 3.5, 101), ("2", "a", None, None)]
NAMES = ["user_id", "item_id", "rating", "timestamp"]


@pytest.fixture
def read(tmp_path):
    """Return a function that writes files and reads them as an entry of `tables`."""

    def read(log=LOG, items=None, name="log.csv", items_name="things.csv", **entry) -> Raw:
        for file, content in ((name, log), (items_name, items)):
            parts = content if isinstance(content, dict) else {"": content}
            for part, text in parts.items():
                if text is not None:
                    path = tmp_path / file / part
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(text if isinstance(text, bytes) else text.encode())
        given = {"interactions": name, "items": None if items is None else items_name, **entry}
        return read_dataset("mine", {"mine": TableSettings.model_validate(given)}, tmp_path)

    return read


@pytest.fixture
def refusal(read):
    """Return a function that reads, must be refused, and gives the one line of the error."""

    def refusal(*args, **entry) -> str:
        with pytest.raises(ValueError) as error:
            read(*args, **entry)
        assert "\n" not in str(error.value)
        return str(error.value)

    return refusal


def parquet(**columns) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


# --- separators and headers


@pytest.mark.parametrize("separator", ["\t", ";", "::", "|", " "])
def test_the_separator_is_found_or_given(separator, read, refusal):
    text = LOG.replace(",", separator)
    assert read(text).interactions.rows() == ROWS
    assert read(text, separator=separator).interactions.rows() == ROWS
    headless = text.partition("\n")[2]
    assert read(headless, header=NAMES).interactions.rows() == ROWS
    other = ";" if separator != ";" else ","
    assert f"log.csv line 1: has no {other!r} between its cells" in refusal(text, separator=other)


def test_both_files_have_their_own_separator(read):
    items = "item_id;title;description;categories\na;A, the first;;X|Y\nb;B;;\n"
    raw = read(LOG.replace(",", "\t"), items, separator="\\t", items_separator=";")
    assert raw.interactions.rows() == ROWS
    assert raw.items.row(0) == ("a", "A, the first", "", ["X", "Y"])
    assert read(LOG.replace(",", "\t"), items).items.equals(raw.items)


def test_a_separator_within_quotes_is_text(read):
    assert read(HEAD.replace(",", "::") + '"1::2"::a::5::1\n').interactions.rows() == [
        ("1::2", "a", 5.0, 1)
    ]


def test_recbole_files(read):
    raw = read(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\ta\t5.0\t100.0\n",
        "item_id:token\tmovie_title:token_seq\tclass:token_seq\na\tThe Film\tDrama War\n",
        name="x.inter",
        items_name="x.item",
        title="movie_title",
        categories="class",
        description=None,
    )
    assert raw.interactions.rows() == ROWS[:1]
    assert raw.items.rows() == [("a", "The Film", "", ["Drama", "War"])]


@pytest.mark.parametrize(
    "text",
    [
        LOG.replace(",", ", "),
        "\n\n" + LOG,
        "sep=,\n" + LOG,
        LOG.replace("\n", "\r\n"),
        LOG.replace("\n", "\r"),
        b"\xef\xbb\xbf" + LOG.encode(),
        ",".join(f" {name} " for name in NAMES) + LOG[len(HEAD) - 1 :],
    ],
)
def test_blanks_line_ends_and_marks_are_no_part_of_names_and_cells(text, read):
    assert read(text).interactions.rows() == ROWS


def test_lines_before_the_header_are_counted(refusal):
    assert "log.csv line 7, column user_id: is empty" in refusal("\n\n" + LOG + ",x,1,1\n")


def test_a_header_that_is_missing_or_too_many(refusal):
    assert "line 1: has data (1,a,5,100) where the names" in refusal(LOG[len(HEAD) :])
    assert "take tables.mine.header out of params.yaml" in refusal(LOG, header=NAMES)
    assert "has 4 cells (1,a,5,100), but tables.mine.header names 2" in refusal(
        LOG[len(HEAD) :], header=NAMES[:2]
    )


def test_the_first_row_of_a_file_without_header_may_hold_line_ends(read):
    raw = read(LOG, '"two\nlines",a\nB,b\n', items_header=["title", "item_id"], **PLAIN)
    assert raw.items["title"].to_list() == ["two\nlines", "B"]


PLAIN = {"description": None, "categories": None}


def test_all_missing_columns_are_in_one_error(refusal):
    assert refusal(LOG, "item_id,title\na,A\n") == (
        "things.csv: has no column description (found item_id, title); set "
        "tables.mine.description (null if there is none); nor has it categories: set "
        "tables.mine.categories (null if there is none)"
    )


def test_quotes_may_be_text(read, refusal):
    items = 'item_id\ttitle\na\t"Hello" world\nb\t5" disc\n'
    assert "or set tables.mine.quotes: false" in refusal(LOG, items, **PLAIN)
    titles = read(LOG, items, quotes=False, **PLAIN).items["title"].to_list()
    assert titles == ['"Hello" world', '5" disc']


# --- packings and forms


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, LOG)
        archive.writestr("__MACOSX/._log.csv", b"x")
    return out.getvalue()


def tarred(mode: str, *names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(LOG)
            archive.addfile(entry, io.BytesIO(LOG.encode()))
    return out.getvalue()


PACKED = {
    "log.csv.gz": gzip.compress(LOG.encode()),
    "log.csv": gzip.compress(LOG.encode()),
    "log.csv.bz2": bz2.compress(LOG.encode()),
    "log.csv.xz": lzma.compress(LOG.encode()),
    "log.zip": zipped("folder/log.csv"),
    "log.tar": tarred("w", "folder/log.csv"),
    "log.tgz": tarred("w:gz", "log.csv"),
    "log.tar.bz2": tarred("w:bz2", "log.csv"),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_packed_file_is_read(name, read):
    assert read(PACKED[name], name=name).interactions.rows() == ROWS


REPLACE = "put a whole copy in its place, then run `glta params sync`"
FOREIGN = {
    "two files": (zipped("a.csv", "b.csv"), "is an archive with 2 files (a.csv, b.csv); unpack it"),
    "two in a tar": (tarred("w:gz", "a", "b"), "is an archive with 2 files (a, b); unpack it"),
    "xlsx": (zipped("xl/workbook.xml"), "is an Excel workbook; save it as CSV"),
    "xls": (b"\xd0\xcf\x11\xe0abc", "is an Excel workbook; save it as CSV"),
    "zstd": (b"\x28\xb5\x2f\xfdabc", "is a zstd archive; unpack it"),
    "pickle": (b"\x80\x04\x95abc", "is a Python pickle, which can run code"),
    "sqlite": (b"SQLite format 3\0abc", "is a SQLite database; save it as CSV"),
    "web page": (b"<!DOCTYPE html><html>", "is a web page, not a table"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
    "utf-16": (LOG.encode("utf-16-le"), "holds bytes that are 0, and so is no text in UTF-8"),
    "cut bz2": (bz2.compress(LOG.encode())[:-9], REPLACE),
    "cut xz": (lzma.compress(LOG.encode())[:-9], REPLACE),
    "cut zip": (zipped("a")[:-30], REPLACE),
    "damaged bz2": (b"BZh91AY" + b"x" * 40, REPLACE),
    "packed Parquet": (gzip.compress(parquet(user_id=[1])), "holds a Parquet file; unpack it"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_table_is_refused_in_words(kind, refusal):
    content, words = FOREIGN[kind]
    found = refusal(content, name="mine.bin")
    assert found.startswith("mine.bin: ")
    assert words in found


def test_a_file_that_is_cut_after_its_first_block_names_the_users_file(refusal, monkeypatch):
    text = HEAD + "".join(f"{k},{k * k},5,{k * 7919}\n" for k in range(3000))
    found = refusal(gzip.compress(text.encode())[:-20], name="log.csv.gz")
    assert found.startswith("log.csv.gz: is damaged or no gzip file")
    assert found.endswith(REPLACE)


RECORDS = [
    {"user_id": 1, "item_id": "a", "rating": 5, "timestamp": 100},
    {"user_id": 2, "item_id": "b", "rating": None, "timestamp": None},
]
JSONS = {
    "list": json.dumps(RECORDS),
    "pretty list": json.dumps(RECORDS, indent=2),
    "lines": "\n".join(map(json.dumps, RECORDS)),
    "NaN": "\n".join(map(json.dumps, RECORDS)).replace("null", "NaN"),
}


@pytest.mark.parametrize("name", ["log.json", "log.txt"])
@pytest.mark.parametrize("form", JSONS)
def test_json_in_lines_or_in_one_list(form, name, read):
    assert read(JSONS[form], name=name).interactions.rows() == [
        ("1", "a", 5.0, 100),
        ("2", "b", None, None),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (JSONS["pretty list"][:-20], "log.json line 12: is not JSON"),
        (json.dumps(RECORDS[0], indent=1), "write one object a line, or a list of objects"),
        ("[]", "log.json: has no records"),
        ("[1]", "log.json record 1, is no record with named fields"),
        (JSONS["list"] + "x", "is not JSON (Extra data x)"),
        (
            JSONS["list"].replace('"rating": null', '"user_id": 3'),
            "record 2, has the field user_id",
        ),
        (JSONS["list"].replace("5,", "[5],"), "record 1, column rating = [5]: must be a number"),
        (JSONS["list"].replace("5,", "true,"), "record 1, column rating = True: must be a number"),
    ],
)
def test_other_json_is_refused(text, words, refusal):
    assert words in refusal(text, name="log.json")


def test_an_item_twice_in_a_list_of_one_line(refusal):
    items = json.dumps([{"item_id": "a", "title": "A"}] * 2)
    found = refusal(LOG, items, items_name="things.json", **PLAIN)
    assert "record 2, column item_id = a: occurs a second time (first at 1)" in found


def test_a_folder_of_parts(read, refusal):
    first = parquet(user_id=[1], item_id=["a"], rating=[5.0], timestamp=[100])
    second = parquet(user_id=[2.0], item_id=["b"], rating=[4], timestamp=[7])
    empty = pq.read_table(io.BytesIO(first)).slice(0, 0)
    out = io.BytesIO()
    pq.write_table(empty, out)
    parts = {"b.parquet": second, "a.parquet": first, "c.parquet": out.getvalue(), "_SUCCESS": ""}
    raw = read({**parts, ".a.crc": "x"}, name="parts/")
    assert raw.interactions.rows() == [("1", "a", 5.0, 100), ("2", "b", 4.0, 7)]
    bad = {"1.csv": LOG, "2.csv": LOG + ",a,1,1\n"}
    assert "texts (part 2.csv) line 5, column user_id: is empty" in refusal(bad, name="texts")


NO_ROWS = {
    "empty": "",
    "an empty line": "\n",
    "a header": HEAD,
    "a header without a line end": HEAD.strip(),
    "packed": gzip.compress(b""),
}


@pytest.mark.parametrize("kind", NO_ROWS)
def test_a_part_without_rows(kind, read, refusal):
    """Wherever it lies among the others. A folder of such parts alone is refused."""
    nothing = NO_ROWS[kind]
    parts = {"1.csv": nothing, "2.csv": LOG, "3.csv": nothing, "4.csv": HEAD + "3,a,1,1\n"}
    rows = [*ROWS, ("3", "a", 1.0, 1)]
    assert read({**parts, "5.csv": nothing}, name="parts").interactions.rows() == rows
    bad = {**parts, "5.csv": nothing, "6.csv": HEAD + ",a,1,1\n"}
    assert "bad (part 6.csv) line 2, column user_id: is empty" in refusal(bad, name="bad")
    assert refusal({"1.csv": nothing, "2.csv": nothing}, name="none") == (
        "none: has no rows; give a file with data"
    )
    assert "give a file with data" in refusal(nothing)


def test_a_part_without_rows_in_other_forms(read, refusal):
    record = '{"user_id": "3", "item_id": "a", "rating": 1, "timestamp": 1}'
    found = read({"1.json": "[]", "2.jsonl": "", "3.jsonl": record}, name="json")
    assert found.interactions.rows() == [("3", "a", 1.0, 1)]
    headless = {"1.csv": "\n", "2.csv": "3,a,1,1\n"}
    assert read(headless, name="headless", header=NAMES).interactions.height == 1
    other = {"1.csv": LOG, "2.csv": "user,item_id,rating,timestamp\n"}
    assert refusal(other, name="other").startswith("other/2.csv: has no column user_id")


def test_a_zero_byte_far_in_a_file_names_its_line(refusal):
    text = HEAD + "1,a,5,100\n" * 1000 + "2,\0b,5,100\n"
    assert refusal(text).startswith("log.csv line 1002: holds a byte that is 0")


# --- values


NOTHING = ["NULL", "null", "None", "\\N", "NA", "NaN", "nan", "N/A", "<NA>", "#N/A", "NaT"]


@pytest.mark.parametrize("word", NOTHING)
def test_a_word_for_no_value_is_none_but_in_a_title(word, read, refusal):
    raw = read(
        HEAD + f"1,a,{word},{word}\n",
        f"item_id,title,description,categories\na,{word},{word},{word}\n",
    )
    assert raw.interactions.row(0) == ("1", "a", None, None)
    assert raw.items.row(0) == ("a", word, "", [])
    found = refusal(HEAD + f"{word},a,5,1\n")
    assert f"column user_id: is empty ({word}); every row needs a user, or set" in found
    assert "tables.mine.null_words" in found


def test_other_words_for_no_value(read, refusal):
    assert read(HEAD + "NA,a,-,1\n", null_words=["-"]).interactions.row(0) == ("NA", "a", None, 1)
    assert read(HEAD + "Nan,a,5,1\n").interactions["user_id"][0] == "Nan"
    assert "rating = Nan: must be a number" in refusal(HEAD + "1,a,Nan,1\n")


MIDNIGHT = 1577836800000  # of 2020-01-01, UTC
TIMES = {
    "2020-01-01": MIDNIGHT,
    "2020-01-01 00:00": MIDNIGHT,
    "2020-01-01T00:00:00Z": MIDNIGHT,
    "2020-01-01T02:00:00+02:00": MIDNIGHT,
    "2019-12-31 22:30:00.5-0130": MIDNIGHT + 500,
    "2020-01-01 00:00:00 UTC": MIDNIGHT,
    "2020-01-01T00:00:00.123999999": MIDNIGHT + 123,
    "1969-12-31T23:59:59.999": -1,
    " 1577836800 ": 1577836800,
    "1577836800.9": 1577836800,
    "1577836800000000000": 1577836800000000000,
}


@pytest.mark.parametrize("text", TIMES)
def test_times_in_iso_8601_and_as_numbers(text, read):
    found = read(HEAD + f"1,a,5,{text}\n1,b,5,\n").interactions
    assert dict(found.select("item_id", "timestamp").rows()) == {"a": TIMES[text], "b": None}


@pytest.mark.parametrize("text", ["2020-02-30", "01/02/2020", "2020-01-01T25:00:00", "now"])
def test_other_times_are_refused(text, refusal):
    assert f"line 2, column timestamp = {text}: must be a number that" in refusal(
        HEAD + f"1,a,5,{text}\n"
    )


def test_dates_beside_numbers_are_refused(refusal):
    found = refusal(HEAD + "1,a,5,100\n1,b,5,\n1,c,5,2020-01-01\n")
    assert found == (
        "log.csv: column timestamp has a number in line 2 and a date in line 4; write all times "
        "alike"
    )


FRACTIONS = {
    "numbers": ("12.25", "12.75"),
    "whole numbers beside fractions": ("12", "12.5"),
    "dates": ("2020-01-01T00:00:00.0002", "2020-01-01T00:00:00.000900"),
    "dates with zones": ("2020-01-01 00:00:00.1234567Z", "2020-01-01 01:00:00.12350001+01:00"),
}


@pytest.mark.parametrize("kind", FRACTIONS)
@pytest.mark.parametrize("parts", [False, True])
def test_fractions_decide_which_of_two_equal_times_is_earlier(kind, parts, read):
    """The later row comes first in the file, or is in the first part of a folder."""
    early, late = FRACTIONS[kind]
    one, two = f"1,late,5,{late}\n2,x,5,{early}\n", f"1,early,5,{early}\n"
    log = {"1.csv": HEAD + one, "2.csv": HEAD + two} if parts else HEAD + one + two
    found = read(log, name="log").interactions
    assert found["timestamp"].n_unique() == 1
    assert found.filter(user_id="1")["item_id"].to_list() == ["early", "late"]


@pytest.mark.parametrize("unit", ["us", "ns"])
@pytest.mark.parametrize("year", [1960, 2020])
def test_fractions_of_times_in_parquet(unit, year, read):
    early = datetime(year, 1, 1, tzinfo=UTC)
    times = [early + timedelta(microseconds=900), early + timedelta(microseconds=200)]
    log = parquet(
        user_id=["1", "1"],
        item_id=["late", "early"],
        rating=[5, 5],
        timestamp=pa.array(times, pa.timestamp(unit, "UTC")),
    )
    found = read(log, name="log.parquet").interactions
    assert found["item_id"].to_list() == ["early", "late"]
    assert found["timestamp"].to_list() == [1000 * int(early.timestamp())] * 2


def test_rows_without_fractions_stay_in_the_order_of_the_file(read):
    rows = "".join(f"1,{item},5,{time}\n" for item, time in zip("cabd", (7, "", 3, 7), strict=True))
    assert read(HEAD + rows).interactions["item_id"].to_list() == [*"cabd"]


def test_a_number_that_a_spreadsheet_shortened_is_refused(read, refusal):
    assert "timestamp = 1.57784E+12: is a long number" in refusal(HEAD + "1,a,5,1.57784E+12\n")
    assert "user_id = 9.78E+12: is a long number" in refusal(HEAD + "9.78E+12,a,5,1\n")
    assert read(HEAD + "9E12,a,5,1\n").interactions["user_id"][0] == "9E12"
    assert "timestamp = -9.78E+12: is a long number" in refusal(HEAD + "1,a,5,-9.78E+12\n")
    for short in ("9.78e+12", "-9.78E+12", "+9.78E+12", "1e+05", "9.78E+012"):
        assert f"item_id = {short}: is a long number" in refusal(HEAD + f"1,{short},5,1\n")
    assert read(HEAD + "1,a,5,1.577836800123e+12\n").interactions["timestamp"][0] == 1577836800123
    whole = "1.234567000000000000e+06"  # numpy.savetxt
    assert read(HEAD + f"1,{whole},5,1\n").interactions["item_id"][0] == whole


def test_one_id_in_two_forms_of_unicode_is_refused(read, refusal):
    """Read as two items, one would lose its title, and the other its users."""
    composed, split = "caf\u00e9", "cafe\u0301"
    log = HEAD + f"1,{composed},5,1\n2,b,5,1\n"
    items = "item_id,title,description,categories\n{},Coffee,,\nb,B,,\n"
    found = refusal(log, items.format(split))
    assert "ids of items have 'café' in two forms of Unicode" in found
    assert ascii(split) in found and ascii(composed) in found
    assert "ids of users have 'café'" in refusal(HEAD + f"{composed},a,5,1\n{split},a,5,1\n")
    titles = read(log, items.format(composed)).items
    assert titles.filter(pl.col("item_id") == composed)["title"].to_list() == ["Coffee"]


CATEGORIES = {
    "id and name": ([{"id": 1, "name": "Drama"}, {"id": 2, "name": "War"}], ["Drama", "War"]),
    "one field": ([{"genre": "Drama"}], ["Drama"]),
    "an object": ({"id": 1, "name": "Drama"}, ["Drama"]),
    "counts": ({"Drama": 3, "War": 0}, ["Drama"]),
    "marks": ({"Drama": True, "War": False}, ["Drama"]),
    "texts": (["Drama", "War", "Drama"], ["Drama", "War"]),
    "nested": ([["Drama"], ["War"]], ["Drama", "War"]),
    "numbers": ([1, 2], ["1", "2"]),
    "text": ("Drama|War", ["Drama", "War"]),
    "text with brackets": ("[18+] film|War", ["[18+] film", "War"]),
    "no name": ([{"A": "x", "B": "y"}], "has objects without a field name, title or label"),
    "no name, numbers": ([{"id": 1, "n": 2}], "has objects without a field name, title or label"),
    "true": ([True], "must be names of categories, not true or false"),
}


@pytest.mark.parametrize("form", ["json", "parquet", "csv of json", "csv of python"])
@pytest.mark.parametrize("kind", CATEGORIES)
def test_categories_are_names_or_refused(kind, form, read, refusal):
    value, wanted = CATEGORIES[kind]
    item = {"item_id": "a", "title": "T", "description": None, "categories": value}
    if form == "json":
        items, name = json.dumps(item), "things.jsonl"
    elif form == "parquet":
        items, name = parquet(**{key: [cell] for key, cell in item.items()}), "things.parquet"
    else:
        written = json.dumps(value) if form == "csv of json" else repr(value)
        text = value if isinstance(value, str) else written
        items = pl.DataFrame({**item, "categories": text}).write_csv()
        name = "things.csv"
    if isinstance(wanted, list):
        assert read(HEAD + "1,a,5,1\n", items, items_name=name).items.row(0)[3] == wanted
    else:
        found = refusal(HEAD + "1,a,5,1\n", items, items_name=name)
        assert wanted in found
        assert found.startswith(f"{name} ")
        assert "column categories = " in found


TEXTS = {
    "lists": (pa.array([["p", None, "q"]]), "p q"),
    "arrays": (pa.array([["p", "q"]], pa.list_(pa.string(), 2)), "p q"),
    "nested lists": (pa.array([[["p"], ["q"]]]), "p q"),
    "whole floats": (pa.array([1984.0]), "1984"),
    "floats": (pa.array([5.25]), "5.25"),
    "dates": (pa.array([date(2020, 1, 2)]), "2020-01-02"),
    "dictionary": (pa.array(["p"]).dictionary_encode(), "p"),
    "decimals": (pa.array([Decimal("5.50")]), "5.5"),
    "structs": (pa.array([{"a": 1}]), "column title is of type Struct"),
    "lists of structs": (pa.array([[{"a": 1}]]), "column title is of type List(Struct"),
    "bytes": (pa.array([b"p"]), "column title is of type Binary"),
    "times of day": (pa.array([5], pa.time64("us")), "column title is of type Time"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_parquet_text_of_any_type(kind, read, refusal):
    array, wanted = TEXTS[kind]
    items = parquet(item_id=["a"], title=array, description=array, categories=[["A"]])
    if wanted.startswith("column"):
        assert f"things.parquet: {wanted}" in refusal(LOG, items, items_name="things.parquet")
    else:
        item = read(LOG, items, items_name="things.parquet").items.row(0)
        assert item == ("a", wanted, wanted, ["A"])


def test_a_json_text_that_is_an_object_is_refused(refusal):
    items = '{"item_id": "a", "title": "T", "description": {"a": 1}, "categories": []}'
    found = refusal(LOG, items, items_name="things.jsonl")
    assert "things.jsonl line 1, column description = {'a': 1}: must be text" in found


IDS = {
    "whole floats": (pa.array([7.0]), "7"),
    "unsigned": (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615"),
    "decimals": (pa.array([Decimal("7.00")]), "7"),
    "dictionary": (pa.array(["x"]).dictionary_encode(), "x"),
    "fractions": (pa.array([7.5]), "row 1, column user_id = 7.5: ids of type Float64 may have"),
    "large floats": (pa.array([2.0**53]), "may have lost digits; save them as text"),
    "dates": (pa.array([date(2020, 1, 2)]), "column user_id is of type Date; save it as text or"),
    "truths": (pa.array([True]), "column user_id is of type Boolean; save it as text or whole"),
    "lists": (pa.array([["x"]]), "column user_id is of type List(String); save it as text or"),
    "nothing": (pa.nulls(1), "row 1, column user_id: is empty; every row needs a user"),
}


@pytest.mark.parametrize("kind", IDS)
def test_a_parquet_id_of_any_type(kind, read, refusal):
    array, wanted = IDS[kind]
    log = parquet(user_id=array, item_id=["a"], rating=[1.0], timestamp=[1])
    if " " in wanted:
        assert wanted in refusal(log, name="log.parquet")
    else:
        assert read(log, name="log.parquet").interactions["user_id"].to_list() == [wanted]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+05:30", "-03:00"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_times_in_any_zone_and_unit(unit, zone, read):
    moment = datetime(2020, 1, 1, tzinfo=timezone(timedelta(0)))
    array = pa.array([moment.replace(tzinfo=None)], pa.timestamp(unit, tz=zone))
    log = parquet(user_id=[1], item_id=["a"], rating=[1], timestamp=array, more=array)
    assert read(log, name="log.parquet").interactions["timestamp"].to_list() == [MIDNIGHT]


@pytest.mark.parametrize("kind", [pa.bool_(), pa.date32(), pa.duration("s"), pa.binary()])
def test_a_parquet_rating_of_another_type_is_refused(kind, refusal):
    value = {pa.bool_(): True, pa.binary(): b"5"}.get(kind, 5)
    log = parquet(user_id=[1], item_id=["a"], rating=pa.array([value], kind), timestamp=[1])
    found = refusal(log, name="log.parquet")
    assert found.startswith("log.parquet: column rating is of type ")
    assert found.endswith("; save it as text that holds numbers, or as numbers")


UNUSED = [
    pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
    pa.array([b"\xff"]),
    pa.array([5], pa.time64("ns")),
    pa.array([5], pa.duration("ms")),
    pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    pa.array([Decimal("1.5")], pa.decimal256(60, 3)),
    pa.array([0], pa.timestamp("us", tz="+05:30")),
]


@pytest.mark.parametrize("array", UNUSED, ids=lambda array: str(array.type))
def test_a_column_that_is_not_read_may_have_any_type(array, read):
    log = parquet(user_id=[1], item_id=["a"], rating=[5], timestamp=[100], more=array)
    items = parquet(item_id=["a"], title=["A"], more=array)
    raw = read(log, items, name="log.parquet", items_name="things.parquet", **PLAIN)
    assert raw.interactions.rows() == ROWS[:1]
    assert raw.items["title"].to_list() == ["A"]


# --- what was read as something else, or refused for another reason


def test_a_file_that_is_packed_twice_is_read(read):
    assert read(gzip.compress(gzip.compress(LOG.encode())), name="log.gz").interactions.height == 3


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_names_of_the_columns_once_more_are_no_row(mark, refusal):
    pairs = "user_id,item_id\n1,a\n"
    error = refusal(pairs + mark + pairs, rating=None, timestamp=None)
    assert "log.csv line 3, has the names of the columns once more" in error


@pytest.mark.parametrize("hidden", ["\ufeff", "\u200b"])
def test_an_id_with_a_hidden_character_at_its_end_is_refused(hidden, refusal):
    assert "line 2, column user_id" in refusal(f"{HEAD}{hidden}1,a,5,100\n1,b,5,101\n")


def test_a_number_written_in_two_ways_is_no_two_ids(read, refusal):
    parts = {"1.csv": LOG, "2.csv": HEAD + "1.0,c,5,100\n"}
    assert "ids of users are written as 1.0 and as 1;" in refusal(parts, name="log")
    log = HEAD + "1,5,5,100\n1,6,5,100\n"
    items = "item_id,title\n5.0,x\n6,y\n"
    rest = {"description": None, "categories": None}
    assert "ids of items are written as 5.0 and as 5;" in refusal(log, items, **rest)
    assert read(HEAD + "1.0,1.5,5,100\n").interactions["item_id"].to_list() == ["1.5"]


REST = {"description": None, "categories": None}
SPELLINGS = [
    ("007", "7"),
    ("7", "007"),
    ("-007", "-7"),
    ("00A1", "A1"),
    ("000", "0"),
    ("100000", "1.0E5"),
    ("1.0E5", "00100000"),
    ("+491234", "491234"),
    ("2.50", "2.5"),
]


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_an_item_without_a_row_that_is_in_the_table_in_another_spelling(one, other, read, refusal):
    """Its texts would be lost. It may be an item of its own, with a row of its own."""
    log = HEAD + f"1,{one},5,100\n1,b,5,100\n"
    items = f"item_id,title\n{other},x\nb,y\n"
    found = refusal(log, items, **REST)
    assert found.startswith(f"things.csv: has no row of item {one}, which log.csv has, but one of")
    assert f"but one of {other}; write ids alike in both files" in found
    both = read(log, f"{items}{one},z\n", **REST)
    assert both.counts["items_missing_from_their_table"] == 0
    assert both.counts["items_without_interactions"] == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("70", "7"), ("7", "-7"), ("1e5", "100000"), ("12345678901234567", "12345678901234568")],
)
def test_an_item_without_a_row_that_is_another(one, other, read):
    log = HEAD + f"1,{one},5,100\n1,b,5,100\n"
    raw = read(log, f"item_id,title\n{other},x\nb,y\n", **REST)
    assert raw.counts["items_missing_from_their_table"] == 1


def test_dates_and_numbers_in_two_parts_are_refused(read, refusal):
    def part(times):
        return parquet(user_id=["u"], item_id=["i"], rating=[1.0], timestamp=times)

    dates = part([datetime(2020, 1, 2)])
    error = refusal({"1.parquet": part([5]), "2.parquet": dates}, name="log")
    assert "number in (part 1.parquet) row 1 and a date in (part 2.parquet) row 1" in error
    both = {"1.parquet": dates, "2.csv": HEAD + "u,i,1,2020-01-02\n"}
    assert read(both, name="both").interactions["timestamp"].to_list() == [1577923200000] * 2


@pytest.mark.parametrize("zone", ["+25:00", "+05:75", "-24"])
def test_a_zone_that_is_none_is_refused(zone, refusal):
    assert "column timestamp" in refusal(f"{HEAD}1,a,5,2020-01-31T18:30:00{zone}\n")


def test_a_column_that_a_part_lacks_names_the_part(refusal):
    parts = {"1.csv": LOG, "2.csv": "user_id,item_id\n3,c\n"}
    assert refusal(parts, name="log").startswith("log/2.csv: has no column rating")


def test_two_columns_of_one_name_are_named(refusal):
    assert "several are named 'x'" in refusal("user_id,item_id,x,x,rating,timestamp\n1,2,a,b,3,4\n")
    names = ["user_id", "item_id", "rating", "timestamp", "user_id"]
    out = io.BytesIO()
    pq.write_table(pa.table([[1]] * 5, names=names), out)
    assert "'user_id' has more than one" in refusal(out.getvalue(), name="log.parquet")


def test_a_text_named_parquet_is_told_to_be_named_by_its_form(refusal):
    assert "ending of what it is" in refusal(LOG, name="log.parquet")


def test_an_object_without_fields_names_no_category(read):
    rows = [{"item_id": "a", "title": "t", "categories": {}}]
    rows.append({"item_id": "b", "title": "t", "categories": [{}, "x"]})
    items = "\n".join(map(json.dumps, rows))
    found = read(items=items, items_name="things.json", description=None).items
    assert found["categories"].to_list() == [[], ["x"]]


@pytest.mark.parametrize("target", ["nowhere.csv", "../other"])
def test_a_part_that_is_a_link_to_no_file_is_not_passed_over(target, read, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/3.csv").write_text(LOG)
    (tmp_path / "log").mkdir()
    (tmp_path / "log/2.csv").symlink_to(target)
    with pytest.raises(ValueError, match=r"log/2.csv: is a link to (no file|a folder)"):
        read({"1.csv": LOG}, name="log")


@pytest.mark.parametrize("cell", ["['Drama', nan]", '["Drama", NaN]', "[None, 'Drama', null]"])
def test_no_value_in_a_list_that_a_cell_writes_is_no_category(cell):
    assert categories_of(cell, "|") == ["Drama"]
    # a name that is none of these is text
    assert categories_of("[drama, nan]", "|") == ["[drama, nan]"]
