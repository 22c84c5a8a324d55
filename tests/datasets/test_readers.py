"""The user's own tables, archives, and every bad input with its message.

The official formats are in test_formats.py.
"""

import gzip
import zipfile
from datetime import time, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glta.datasets.catalogue import table_files
from glta.datasets.readers import read_dataset
from glta.datasets.settings import TableSettings
from glta.io import json_lines, parquet, streams
from glta.io.sheets import LINE, PROBLEM, read_csv
from glta.io.streams import blocks
from glta.params.model import Params
from tests.datasets.formats import TINY_DATASETS

ML_1M = next(tiny for tiny in TINY_DATASETS if tiny.dataset == "ml-1m")
INTERACTIONS = "user_id,item_id,rating,timestamp\n1,a,5,100\n1,b,3.5,101\n2,a,,\n"
ITEMS = "item_id,title,description,categories\na,Alpha,About a,X|Y\nb,Beta,,\nc,Gamma,,\n"


def zipped(folder, dataset, members: dict[str, bytes]):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{dataset}.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return folder


def sheet_of(content: bytes) -> pl.DataFrame:
    return pl.concat(read_csv([(1, content)], "f.csv"))


def tables(folder, interactions=INTERACTIONS, items=ITEMS, share=0.0, **table):
    """Read two CSV files with the given texts (or bytes); items None: no such file."""
    for name, text in (("log.csv", interactions), ("things.csv", items)):
        if text is not None:
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    entry = {
        "interactions": "log.csv",
        "items": "things.csv" if items is not None else None,
        **table,
    }
    return read_dataset(
        "mine",
        Params.model_validate({"tables": {"mine": entry}}).tables,
        folder,
        max_bad_share=share,
    )


def test_tables_as_csv(tmp_path):
    raw = tables(tmp_path)
    assert raw.interactions.rows() == [
        ("1", "a", 5.0, 100),
        ("1", "b", 3.5, 101),
        ("2", "a", None, None),
    ]
    assert raw.items.rows() == [
        ("a", "Alpha", "About a", ["X", "Y"]),
        ("b", "Beta", "", []),
        ("c", "Gamma", "", []),
    ]


def test_tables_with_other_names_and_missing_columns(tmp_path):
    raw = tables(
        tmp_path,
        "who;x,what\n7,a\n",
        "what,name,tags\na,Alpha,X; Y;X\n",
        user="who;x",
        item="what",
        rating=None,
        timestamp=None,
        title="name",
        description=None,
        categories="tags",
        category_separator=";",
    )
    assert raw.interactions.rows() == [("7", "a", None, None)]
    assert raw.items.rows() == [("a", "Alpha", "", ["X", "Y"])]


def test_tables_gzip_byte_order_mark_windows_lines_and_blank_end(tmp_path):
    text = b"\xef\xbb\xbf" + INTERACTIONS.replace("\n", "\r\n").encode() + b"\r\n\r\n"
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(text))
    (tmp_path / "things.csv").write_text(ITEMS)
    params = Params.model_validate(
        {"tables": {"mine": {"interactions": "d/log.csv.gz", "items": "things.csv"}}}
    )
    raw = read_dataset("mine", params.tables, tmp_path, max_bad_share=params.prepare.max_bad_share)
    assert raw.interactions.height == 3
    assert raw.interactions["user_id"].to_list() == ["1", "1", "2"]


def test_tables_as_parquet(tmp_path):
    from datetime import datetime

    pl.DataFrame(
        {
            "user_id": [1, 2],
            "item_id": [10.0, 20.0],
            "rating": [1, 2],
            "timestamp": [datetime(2020, 1, 1), datetime(2020, 1, 2)],
        }
    ).write_parquet(tmp_path / "log.parquet")
    pl.DataFrame(
        {
            "item_id": [10, 20],
            "title": ["A", "B"],
            "description": [None, "b"],
            "categories": [["X", "Y"], []],
        }
    ).write_parquet(tmp_path / "things.parquet")
    params = Params.model_validate(
        {"tables": {"mine": {"interactions": "log.parquet", "items": "things.parquet"}}}
    )
    raw = read_dataset("mine", params.tables, tmp_path, max_bad_share=params.prepare.max_bad_share)
    assert raw.interactions.rows() == [
        ("1", "10", 1.0, 1577836800000),
        ("2", "20", 2.0, 1577923200000),
    ]
    assert raw.items.rows() == [("10", "A", "", ["X", "Y"]), ("20", "B", "b", [])]


def test_tables_as_json_lines(tmp_path):
    (tmp_path / "log.jsonl.gz").write_bytes(
        gzip.compress(
            b'{"user_id": 7, "item_id": "a", "rating": 4.5, "timestamp": 100}\n\n{"item_id": "b", '
            b'"user_id": 8}\n'
        )
    )
    (tmp_path / "things.json").write_text(
        '{"item_id": "a", "title": "A", "description": null, "categories": "X|Y"}\n'
        '{"item_id": "b", "title": "B", "description": ["one", "two"], "categories": ["Z"]}\n'
    )
    params = Params.model_validate(
        {"tables": {"mine": {"interactions": "log.jsonl.gz", "items": "things.json"}}}
    )
    raw = read_dataset("mine", params.tables, tmp_path, max_bad_share=params.prepare.max_bad_share)
    assert raw.interactions.rows() == [("7", "a", 4.5, 100), ("8", "b", None, None)]
    assert raw.items.rows() == [("a", "A", "", ["X", "Y"]), ("b", "B", "one two", ["Z"])]


def test_tables_with_a_split(tmp_path):
    text = "user_id,item_id,fold\n1,a,train\n1,b,test\n2,a,valid\n"
    given = {"rating": None, "timestamp": None, "part": "fold"}
    assert tables(tmp_path, text, **given).interactions["part"].to_list() == [0, 2, 1]
    with pytest.raises(
        ValueError,
        match=r"log\.csv line 5, column fold = dev: must be train, valid, test; correct it",
    ):
        tables(tmp_path, text + "2,b,dev\n", **given)
    with pytest.raises(ValueError, match=r"log\.csv line 5, column fold = : must be train"):
        tables(tmp_path, text + "2,b,\n", **given)
    with pytest.raises(
        ValueError,
        match=r"log\.csv: item a of user 1 is in train and valid; the parts of a split must not "
        r"share",
    ):
        tables(tmp_path, text + "1,a,valid\n", **given)
    with pytest.raises(
        ValueError,
        match=r"log\.csv: has no column fold \(found .*set tables\.mine\.part \(null if there",
    ):
        tables(tmp_path, text.replace("fold", "set"), **given)


def test_json_lines_lack_a_column(tmp_path):
    (tmp_path / "log.ndjson").write_text(
        '{"user_id": 7, "item_id": "a", "stars": 4.5, "timestamp": 100}\n'
    )
    params = Params.model_validate({"tables": {"mine": {"interactions": "log.ndjson"}}})
    with pytest.raises(
        ValueError,
        match=r"log\.ndjson: has no column rating \(found .*stars.*set tables\.mine\.rating "
        r"\(null",
    ):
        read_dataset("mine", params.tables, tmp_path, max_bad_share=params.prepare.max_bad_share)


@pytest.mark.parametrize("size", [1, 5, 40, 1000])
def test_small_blocks_and_sheets_change_nothing(size, tmp_path, monkeypatch):
    items = 'item_id,title,description,categories\na,"Two\nlines","said ""so"", twice",\nb,B,,X\n'
    whole = tables(tmp_path, items=items)
    monkeypatch.setattr(streams, "BLOCK_BYTES", size)
    again = tables(tmp_path, items=items)
    assert again.interactions.equals(whole.interactions)
    assert again.items.equals(whole.items)
    assert again.items["title"][0] == "Two\nlines"
    with pytest.raises(ValueError, match=r"things\.csv line 5, column item_id: is empty"):
        tables(tmp_path, items=items + ",Nobody,,\n")


def test_parquet_is_read_in_pieces(tmp_path, monkeypatch):
    frame = pl.DataFrame({"user_id": [1.0, 2.0, None, 4.0], "item_id": ["a", "b", "c", "d"]})
    frame.write_parquet(tmp_path / "log.parquet")
    monkeypatch.setattr(parquet, "PARQUET_ROWS", 3)
    given = {"interactions": "log.parquet", "rating": None, "timestamp": None}
    params = Params.model_validate({"tables": {"mine": given}, "prepare": {"max_bad_share": 0.25}})
    assert read_dataset(
        "mine", params.tables, tmp_path, max_bad_share=params.prepare.max_bad_share
    ).interactions["user_id"].to_list() == ["1", "2", "4"]
    with pytest.raises(ValueError, match=r"log\.parquet row 3, column user_id: is empty"):
        read_dataset("mine", Params.model_validate({"tables": {"mine": given}}).tables, tmp_path)


def test_parquet_names_the_row(tmp_path):
    pl.DataFrame({"user_id": ["1", None], "item_id": ["a", "b"]}).write_parquet(
        tmp_path / "log.parquet"
    )
    params = Params.model_validate(
        {"tables": {"mine": {"interactions": "log.parquet", "rating": None, "timestamp": None}}}
    )
    with pytest.raises(ValueError, match=r"log\.parquet row 2, column user_id: is empty"):
        read_dataset("mine", params.tables, tmp_path, max_bad_share=params.prepare.max_bad_share)


@pytest.mark.parametrize("value", [float("inf"), 1e300])
@pytest.mark.parametrize("column", ["rating", "timestamp"])
def test_a_parquet_number_that_fits_no_integer_is_not_lost(tmp_path, column, value):
    """The other numbers of the column are whole, so that it is read as integers."""
    log = {"user_id": [1, 2], "item_id": ["a", "b"], "rating": [1.0, 2.0], "timestamp": [1.0, 2.0]}
    pl.DataFrame(log | {column: [1.0, value]}).write_parquet(tmp_path / "log.parquet")
    params = Params.model_validate({"tables": {"mine": {"interactions": "log.parquet"}}})
    with pytest.raises(
        ValueError, match=rf"log\.parquet row 2, column {column} = .*: must be a num"
    ):
        read_dataset("mine", params.tables, tmp_path)


OTHER_TYPES = {
    "time": pl.Series([time(1), time(2)]),
    "duration": pl.Series([timedelta(1), timedelta(2)]),
    "bytes": pl.Series([b"\xff", b"x"]),
    "struct": pl.Series([{"a": 1}, {"a": 2}]),
    "array": pl.Series([[1.0], [2.0]], dtype=pl.Array(pl.Float64, 1)),
}


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_a_parquet_column_of_another_type_matters_only_if_it_is_read(tmp_path, kind):
    frame = pl.DataFrame({"user_id": [1, 2], "item_id": ["a", "b"], "more": OTHER_TYPES[kind]})
    frame.write_parquet(tmp_path / "log.parquet")

    def read(**columns):
        given = {"interactions": "log.parquet", "rating": None, "timestamp": None, **columns}
        params = Params.model_validate({"tables": {"mine": given}})
        return read_dataset("mine", params.tables, tmp_path)

    assert read().interactions["user_id"].to_list() == ["1", "2"]
    with pytest.raises(
        ValueError, match=r"log\.parquet: column more is of type .*; save it as text"
    ):
        read(rating="more")


def test_without_items_the_id_is_the_title(tmp_path):
    raw = tables(tmp_path, items=None)
    assert raw.items.select("item_id", "title").rows() == [("a", "a"), ("b", "b")]


def test_gaps_in_the_items_are_mended_and_counted(tmp_path):
    raw = tables(tmp_path, items="item_id,title,description,categories\na,,,\nc,Gamma,,\n")
    assert raw.items.select("item_id", "title").rows() == [("a", "a"), ("c", "Gamma"), ("b", "b")]
    assert raw.counts["items_without_text"] == 1
    assert raw.counts["items_missing_from_their_table"] == 1


def test_quoted_line_breaks_do_not_shift_the_lines(tmp_path):
    items = 'item_id,title,description,categories\na,"Two\nlines","said ""so""",\n\n,Nobody,,\n'
    with pytest.raises(
        ValueError, match=r"things\.csv line 5, column item_id: is empty; every row needs an item"
    ):
        tables(tmp_path, items=items)
    raw = tables(tmp_path, items=items.replace("\n,Nobody", "\nb,Nobody"))
    assert raw.items.rows()[0] == ("a", "Two\nlines", 'said "so"', [])


HEAD = "user_id,item_id,rating,timestamp\n"
ITEM_HEAD = "item_id,title,description,categories\n"
BAD = {
    "empty user": (
        {"interactions": HEAD + "1,a,5,1\n,a,5,1\n"},
        r"log\.csv line 3, column user_id: is empty.*max_bad_share",
    ),
    "blank user": (
        {"interactions": HEAD + "  ,a,5,1\n"},
        r"log\.csv line 2, column user_id: is empty",
    ),
    "nan item": (
        {"interactions": HEAD + "1,NaN,5,1\n"},
        r"log\.csv line 2, column item_id: is empty",
    ),
    "rating": (
        {"interactions": HEAD + "1,a,5,1\n1,b,good,1\n"},
        r"log\.csv line 3, column rating = good: must be a number",
    ),
    "infinite": (
        {"interactions": HEAD + "1,a,inf,1\n"},
        r"log\.csv line 2, column rating = inf: must be a number",
    ),
    "date": (
        {"interactions": HEAD + "1,a,5,01/02/2020\n"},
        r"line 2, column timestamp = 01/02/2020: must be a number that grows .* or a date such as",
    ),
    "short": (
        {"interactions": HEAD + "1,a,5,1\n1,b\n"},
        r"log\.csv line 3, has 2 cells instead of 4; correct it",
    ),
    "long": (
        {"interactions": HEAD + "1,a,5,1,9\n"},
        r"log\.csv line 2, has 5 cells instead of 4; correct it",
    ),
    "column": (
        {"interactions": HEAD.replace("user_id", "userid") + "1,a,5,1\n"},
        r"log\.csv: has no column user_id; nearest is userid .*set tables\.mine\.user",
    ),
    "no column": (
        {"interactions": "user_id,item_id,stars,timestamp\n1,a,5,1\n"},
        r"no column rating \(found user_id, item_id, stars, timestamp\); set tables\.mine\.rating "
        r"\(null if there is none\)",
    ),
    "item column": (
        {"items": "id,title,description,categories\na,A,,\n"},
        r"things\.csv: has no column item_id; nearest is id .*set tables\.mine\.item",
    ),
    "empty file": ({"interactions": ""}, r"log\.csv: is empty; .*give a file with data"),
    "blank file": ({"items": "\n\n"}, r"things\.csv: is empty"),
    "header only": (
        {"interactions": HEAD},
        r"log\.csv: has a header but no rows; give a file with data",
    ),
    "twice": (
        {"items": ITEMS + "a,Again,,\n"},
        r"things\.csv line 5, column item_id = a: occurs a second time \(first at 2\)",
    ),
    "no text": (
        {"items": ITEM_HEAD + "a,,,\nb,,,\n"},
        r"things\.csv: no item has text .*set tables\.mine\.title",
    ),
    "strangers": (
        {"items": ITEMS.replace("\na,", "\nz,").replace("\nb,", "\ny,")},
        r"has none of the interactions' items \(it has 'z', they have 'a'\); set "
        r"tables\.mine\.item",
    ),
    "latin": (
        {"items": ITEM_HEAD.encode() + b"a,Am\xe9lie,,\n"},
        r"things\.csv line 2: byte 0xe9 is not UTF-8; save the file as UTF-8",
    ),
    "utf-16": (
        {"items": ITEMS.encode("utf-16")},
        r"things\.csv line 1: is UTF-16 text; save the file as UTF-8",
    ),
    "quote": (
        {"items": ITEM_HEAD + 'a,A,,\nb,"B,,\nc,C,,\n'},
        r"things\.csv line 3: cannot be cut into cells .*check its quotes",
    ),
    "same columns": (
        {"interactions": "user_id,item_id,user_id\n1,a,1\n"},
        r"log\.csv line 1: has . columns, of which several are named 'user_id'",
    ),
    "same column": (
        {"interactions": "user_id,user_id,item_id,rating\n1,1,a,1,\n"},
        r"log\.csv line 1: has . columns, of which several are named 'user_id'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_file_place_and_fix(case, tmp_path):
    change, message = BAD[case]
    with pytest.raises(ValueError, match=message) as error:
        tables(tmp_path, **change)
    assert "\n" not in str(error.value)


def test_bad_rows_up_to_the_share_are_dropped_and_counted(tmp_path):
    rows = [f"{k},a,5,1" for k in range(8)] + [",a,5,1", "9,a,five,1"]
    raw = tables(tmp_path, HEAD + "\n".join(rows), share=0.2)
    assert raw.interactions.height == 8
    assert raw.counts["interaction_rows"] == 10
    assert raw.counts["bad_interaction_rows"] == 2
    with pytest.raises(
        ValueError, match=r"line 10, column user_id: .*\(= 0\.19; 2 of 10 rows are bad\)"
    ):
        tables(tmp_path, HEAD + "\n".join(rows), share=0.19)


@pytest.mark.parametrize("size", [8, 1 << 20])
def test_quotes_that_never_close_name_their_line(size, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BLOCK_BYTES", size)
    with pytest.raises(
        ValueError, match=r"things\.csv line 3: cannot be cut into cells .*check its quotes"
    ):
        tables(tmp_path, items=ITEM_HEAD + 'a,A,,\nb,"B,,\nc,C,,\nd,D,,\n')


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "log.csv.gz",
            b"user_id,item_id\n",
            r"log\.csv\.gz: is damaged or no gzip file .*put a whole copy in its place",
        ),
        (
            "log.csv.gz",
            gzip.compress(INTERACTIONS.encode() * 9, mtime=0)[:-20],
            r"log\.csv\.gz: is damaged or no gzip file",
        ),
        (
            "log.parquet",
            b"PAR1 and then nothing",
            r"log\.parquet: is damaged or no Parquet file .*put a whole copy in its place",
        ),
    ],
)
def test_damaged_tables(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    params = Params.model_validate({"tables": {"mine": {"interactions": name}}})
    with pytest.raises(ValueError, match=message):
        read_dataset("mine", params.tables, tmp_path, max_bad_share=params.prepare.max_bad_share)


def test_damaged_archives(tmp_path):
    folder = ML_1M.write(tmp_path / "d")
    path = folder / "ml-1m.zip"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[60] ^= 255
    for content in (whole[:-40], bytes(flipped), b"<html>not found</html>", b""):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"ml-1m\.zip: is damaged .*delete it and run the stage download again"
        ):
            read_dataset("ml-1m", {}, folder)


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil", "a/../../evil", "..\\evil"])
def test_member_names_that_point_outside(name, tmp_path):
    folder = zipped(tmp_path / "d", "x", {"good.csv": b"a\n1\n", name: b"evil"})
    with pytest.raises(
        ValueError, match=r"x\.zip: holds a file named .* outside of the archive; do not use"
    ):
        list(blocks(folder / "x.zip", "good.csv"))


def test_missing_member_names_the_nearest(tmp_path):
    folder = zipped(tmp_path / "d", "ml-1m", {"ml-1m/rating.dat": b"1::1::1::1\n"})
    with pytest.raises(
        ValueError,
        match=r"ml-1m\.zip: has no file ml-1m/ratings\.dat; nearest is ml-1m/rating\.dat",
    ):
        read_dataset("ml-1m", {}, folder)


def test_bad_line_of_an_official_file(tmp_path):
    folder = ML_1M.write(tmp_path / "d", log=ML_1M.texts[ML_1M.log] + b"3::20::x::1\n")
    with pytest.raises(
        ValueError, match=r"ml-1m/ratings\.dat line 4, column rating = x: must be a number"
    ):
        read_dataset("ml-1m", {}, folder)


def test_unknown_dataset():
    with pytest.raises(ValueError, match=r"nothing: is no registered dataset.*`glta datasets`"):
        read_dataset("nothing", {}, None)


def test_fast_and_slow_reading_agree():
    text = b"a,b,c\n" + b"".join(b"%d,x%d,\n" % (k, k) for k in range(50))
    fast = sheet_of(text)
    slow = sheet_of(text.replace(b"x7,", b'"x7",'))
    assert fast.equals(slow)


def test_file_names_of_tables():
    assert table_files("a/log.csv", "b\\log.csv") == {
        "interactions": "log.csv",
        "items": "items-log.csv",
    }
    assert table_files("http://x/log.csv", None) == {"interactions": "log.csv"}


@given(
    st.lists(
        st.sampled_from(
            [b"a", b"7", b",", b",", b'"', b"\n", b"\n", b"\r\n", b"\xff", "é".encode()]
        ),
        max_size=30,
    )
)
@settings(max_examples=400, deadline=None)
def test_any_bytes_give_rows_or_one_clear_error(parts):
    content = b"x,y\n" + b"".join(parts)
    try:
        sheet = sheet_of(content)
    except ValueError as error:
        assert str(error).startswith("f.csv")
        return
    assert sheet.columns == ["x", "y", LINE, PROBLEM]
    # a row begins where its line says, and no row is lost
    lines = content.split(b"\n")
    for line, problem, x in sheet.select(LINE, PROBLEM, "x").rows():
        if problem is None and x:
            assert (
                lines[line - 1]
                .lstrip(b'"')
                .startswith(x.strip('"').split("\n")[0].split("\r")[0].split('"')[0].encode())
            )
    if b'"' not in content and b"\r" not in content.replace(b"\r\n", b""):
        assert sheet.height == len(
            [text for text in content.replace(b"\r\n", b"\n").split(b"\n")[1:] if text]
        )


FEATURED = "item_id,title,price,brand\na,Alpha,9.5,Acme\nb,Beta,,\n"
PLAIN = {"description": None, "categories": None}


def featured(folder, file: str, *features: str):
    """Read the usual interactions with the items of a file that is there already."""
    (folder / "log.csv").write_text(INTERACTIONS)
    entry = {"interactions": "log.csv", "items": file, "features": features, **PLAIN}
    return read_dataset("mine", {"mine": TableSettings.model_validate(entry)}, folder)


def test_features_of_csv_are_text(tmp_path):
    raw = tables(tmp_path, items=FEATURED, features=["price", "brand"], **PLAIN)
    assert raw.items.columns == ["item_id", "title", "description", "categories", "price", "brand"]
    assert raw.items.select("item_id", "price", "brand").rows() == [
        ("a", "9.5", "Acme"),
        ("b", None, None),
    ]


def test_items_missing_from_their_table_have_no_features(tmp_path):
    raw = tables(tmp_path, items="item_id,title,brand\na,Alpha,Acme\n", features=["brand"], **PLAIN)
    assert raw.items.select("item_id", "brand").rows() == [("a", "Acme"), ("b", None)]


def test_features_of_parquet_keep_their_types(tmp_path):
    things = pl.DataFrame(
        {
            "item_id": ["a", "b"],
            "title": ["A", "B"],
            "price": [9.0, None],
            "sizes": [[1, 2], []],
            "seller": [{"name": "x", "stars": 4}, None],
        }
    )
    things.write_parquet(tmp_path / "things.parquet")
    raw = featured(tmp_path, "things.parquet", "price", "sizes", "seller")
    kept = raw.items.select("price", "sizes", "seller")
    assert kept.equals(things.select("price", "sizes", "seller"))
    assert kept.schema == things.select("price", "sizes", "seller").schema


def json_features(folder, *lines: str, features: list[str]) -> pl.DataFrame:
    (folder / "things.jsonl").write_text("\n".join(lines) + "\n")
    return featured(folder, "things.jsonl", *features).items.select(features)


def test_features_of_json_get_the_type_of_all_their_values(tmp_path, monkeypatch):
    monkeypatch.setattr(
        json_lines, "SHEET_ROWS", 1
    )  # a sheet a line: the second alone tells the type
    kept = json_features(
        tmp_path,
        '{"item_id": "a", "title": "T", "price": 9, "brand": "Ac\\"me", '
        '"seller": {"stars": 4}, "nothing": null}',
        '{"item_id": "b", "title": "T", "price": 9.5, "brand": null, "seller": null, '
        '"nothing": null}',
        features=["price", "brand", "seller", "nothing"],
    )
    assert kept.rows() == [(9.0, 'Ac"me', {"stars": 4}, None), (9.5, None, None, None)]
    assert kept.schema["price"] == pl.Float64
    assert kept.schema["nothing"] == pl.String


def test_features_of_types_that_do_not_fit_are_refused(tmp_path):
    lines = (
        '{"item_id": "a", "title": "T", "seller": {"stars": 4}}',
        '{"item_id": "b", "title": "T", "seller": 5}',
    )
    with pytest.raises(
        ValueError,
        match=r"things\.jsonl: column seller has values of types .*set tables\.mine\.features",
    ):
        json_features(tmp_path, *lines, features=["seller"])


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_feature_that_is_not_there_names_the_nearest(ending, tmp_path):
    frame = pl.DataFrame({"item_id": ["a"], "title": ["A"], "Price": ["9"]})
    path = tmp_path / f"goods.{ending}"
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson}[ending](
        path
    )
    with pytest.raises(
        ValueError,
        match=rf"goods\.{ending}: has no column price; nearest is Price .*tables\.mine\.features",
    ):
        featured(tmp_path, path.name, "price")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"features": ["title"]}, "title is the name of a column that every items table has"),
        ({"features": ["item"]}, "item is the name of a column that every items table has"),
        ({"features": ["price", "price"]}, "price is named twice"),
        ({"title": "name", "features": ["name"]}, "features has name, which is read as title"),
        ({"items": None, "features": ["price"]}, "features are columns of items; set items"),
    ],
)
def test_features_that_cannot_be_are_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        TableSettings(**{"interactions": "log.csv", "items": "things.csv"} | entry)
