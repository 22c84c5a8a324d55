"""Every official format is read whole and in small blocks, and every bad file gives an error."""

import json
import re
import tracemalloc

import polars as pl
import pytest

from glta.datasets.catalogue import REGISTRY
from glta.datasets.readers import READERS, read_dataset
from glta.io import json_lines, streams
from glta.io.sheets import LINE, PROBLEM, BadRows
from glta.params.model import Params
from tests.datasets.formats import TINY_DATASETS, TinyDataset, packed

BY_NAME = {tiny.dataset: tiny for tiny in TINY_DATASETS}
RECORDS = [s for s in TINY_DATASETS if s.pack is packed or s.dataset == "yelp"]
every = pytest.mark.parametrize("tiny", TINY_DATASETS, ids=list(BY_NAME))
every_record = pytest.mark.parametrize("tiny", RECORDS, ids=[s.dataset for s in RECORDS])


def raw_of(tiny: TinyDataset, folder, share: float = 0.0, **changed: bytes):
    params = Params.model_validate({"prepare": {"max_bad_share": share}})
    return read_dataset(
        tiny.dataset,
        params.tables,
        tiny.write(folder, **changed),
        max_bad_share=params.prepare.max_bad_share,
    )


def changed_line(tiny: TinyDataset, role: str, number: int, line: bytes) -> dict[str, bytes]:
    """Return the text of a role with a line put in as number `number`."""
    lines = tiny.texts[getattr(tiny, role)].splitlines(keepends=True)
    lines.insert(number - 1, line)
    return {role: b"".join(lines)}


def test_there_is_a_tiny_dataset_of_every_reader():
    assert {REGISTRY[s.dataset].reader for s in TINY_DATASETS} == set(READERS) - {"sample"}


@every
def test_read_as_published(tiny, tmp_path):
    raw = raw_of(tiny, tmp_path)
    assert raw.interactions.columns[:4] == ["user_id", "item_id", "rating", "timestamp"]
    assert raw.interactions.dtypes[:4] == [pl.String, pl.String, pl.Float64, pl.Int64]
    assert raw.interactions.height == 3
    assert raw.interactions.row(0)[:4] == tiny.first
    assert raw.interactions["user_id"].n_unique() == raw.interactions["item_id"].n_unique() == 2
    assert raw.items.sort("item_id").rows() == tiny.items
    assert raw.counts["interaction_rows"] == 3
    assert "secret" not in str(raw.items.rows())


@every
@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_size_of_the_blocks_changes_nothing(tiny, size, tmp_path, monkeypatch):
    whole = raw_of(tiny, tmp_path)
    monkeypatch.setattr(streams, "BLOCK_BYTES", size)
    again = raw_of(tiny, tmp_path)
    assert again.interactions.equals(whole.interactions)
    assert again.items.equals(whole.items)
    assert again.counts == whole.counts


@every
def test_a_byte_order_mark_is_no_part_of_the_data(tiny, tmp_path):
    marked = {
        role: b"\xef\xbb\xbf" + tiny.texts[getattr(tiny, role)] for role in ("log", "catalogue")
    }
    assert raw_of(tiny, tmp_path / "marked", **marked).interactions.equals(
        raw_of(tiny, tmp_path / "plain").interactions
    )


@every
@pytest.mark.parametrize("role", ["log", "catalogue"])
@pytest.mark.parametrize("size", [16, 1 << 20])
def test_a_bad_line_in_the_middle_names_file_and_line(tiny, role, size, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BLOCK_BYTES", size)
    change = changed_line(tiny, role, 2, b"garbage!\n")
    with pytest.raises(
        ValueError, match=rf"{re.escape(getattr(tiny, role))} line 2, .*correct it, or drop"
    ) as error:
        raw_of(tiny, tmp_path, **change)
    assert "\n" not in str(error.value)
    raw = raw_of(tiny, tmp_path, share=0.9, **change)
    assert raw.counts["bad_interaction_rows"] + raw.counts.get("bad_item_rows", 0) == 1


@every
def test_a_file_that_ends_too_early_is_one_clear_error(tiny, tmp_path):
    folder = tiny.write(tmp_path)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        cut = whole[: len(whole) * 2 // 3]
        if path.suffix == ".csv":
            cut = whole[: whole.rstrip().rfind(b",")]
        elif path.suffix == ".txt":  # without a checksum, an id that lost its end is an id
            cut = whole[: whole.rfind(b" ")] + b" 9x"
        path.write_bytes(cut)
        with pytest.raises(ValueError, match=re.escape(path.name)) as error:
            read_dataset(tiny.dataset, Params().tables, folder)
        assert re.search(r"is damaged.*line \d|line \d+, (has|id|is not JSON)", str(error.value))
        path.write_bytes(whole)


@every
def test_an_empty_file_is_named(tiny, tmp_path):
    with pytest.raises(ValueError, match=rf"{re.escape(tiny.log)}: is empty"):
        raw_of(tiny, tmp_path, log=b"")


@every
def test_nothing_half_written_stays(tiny, tmp_path, monkeypatch):
    from pipeline.stages.prepare import main

    monkeypatch.chdir(tmp_path)
    tiny.write(
        tmp_path / "data" / tiny.dataset / "download",
        **changed_line(tiny, "catalogue", 2, b"garbage!\n"),
    )
    with pytest.raises(ValueError, match="line 2, "):
        main(Params(), tiny.dataset, 0)
    assert [path.name for path in (tmp_path / "data" / tiny.dataset).iterdir()] == ["download"]


def first_record(tiny: TinyDataset, role: str) -> dict:
    import ast

    line = tiny.texts[getattr(tiny, role)].splitlines()[0].decode()
    try:
        return json.loads(line)
    except ValueError:
        return ast.literal_eval(line)


def id_of(tiny: TinyDataset) -> str:
    names = {"reviewerID", "user_id", "username"}
    return next(name for name in first_record(tiny, "log") if name in names)


@every_record
def test_a_missing_field_names_file_and_line(tiny, tmp_path):
    record = first_record(tiny, "log")
    del record[id_of(tiny)]
    line = json.dumps(record).encode() + b"\n"
    with pytest.raises(
        ValueError,
        match=rf"{re.escape(tiny.log)} line 3, column {id_of(tiny)}: is missing; every line",
    ):
        raw_of(tiny, tmp_path, **changed_line(tiny, "log", 3, line))


@every_record
@pytest.mark.parametrize("write", [json.dumps, repr])
def test_a_field_that_occurs_twice_names_file_and_line(tiny, write, tmp_path):
    name = id_of(tiny)
    line = f"{{{write(name)}: {write('x')}, {write(first_record(tiny, 'log'))[1:]}\n".encode()
    if write is repr and "2014" not in tiny.dataset and tiny.dataset != "steam":
        expected = "is not JSON"
    else:
        expected = f"has the field {name} twice"
    with pytest.raises(ValueError, match=rf"{re.escape(tiny.log)} line 2, {expected}"):
        raw_of(tiny, tmp_path, **changed_line(tiny, "log", 2, line))


@every_record
def test_ids_of_two_kinds_name_file_and_both_lines(tiny, tmp_path):
    line = json.dumps(first_record(tiny, "log") | {id_of(tiny): 5}).encode() + b"\n"
    with pytest.raises(
        ValueError,
        match=rf"{re.escape(tiny.log)} line 3, column {id_of(tiny)} = 5: is a number, but "
        rf"text in line 1",
    ):
        raw_of(tiny, tmp_path, **changed_line(tiny, "log", 3, line))


@every_record
@pytest.mark.parametrize("value", [True, 1.5, ["a"], {"a": 1}])
def test_ids_are_text_or_whole_numbers(tiny, value, tmp_path):
    line = json.dumps(first_record(tiny, "log") | {id_of(tiny): value}).encode() + b"\n"
    with pytest.raises(
        ValueError, match=rf"line 1, column {id_of(tiny)} = .*: must be text or a whole number"
    ):
        raw_of(tiny, tmp_path, **changed_line(tiny, "log", 1, line))


@every_record
def test_no_record_has_a_field(tiny, tmp_path):
    content = re.sub(rb"[\"'](stars|overall|rating|date)[\"']", b'"strs"', tiny.texts[tiny.log])
    if tiny.dataset != "steam":
        with pytest.raises(
            ValueError,
            match=rf"{re.escape(tiny.log)}: has no column (stars|overall|rating|date_added)"
            rf".* \(found .*\); delete it",
        ):
            raw_of(tiny, tmp_path, log=content)


@every_record
def test_numbers_and_dates_are_checked(tiny, tmp_path):
    record = first_record(tiny, "log")
    time = next(
        name for name in ("unixReviewTime", "timestamp", "date_added", "date") if name in record
    )
    line = json.dumps(record | {time: "yesterday"}).encode() + b"\n"
    with pytest.raises(
        ValueError,
        match=rf"line 2, column {time} = yesterday: must be a number that grows with time",
    ):
        raw_of(tiny, tmp_path, **changed_line(tiny, "log", 2, line))


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    """12 MB of records are read in blocks of 256 kB.

    Python holds a few blocks, and Polars the four columns that are wanted.
    """
    tiny = BY_NAME["amazon-2018-grocery-and-gourmet-food"]
    line = tiny.texts[tiny.log].splitlines()[0]
    content = b"\n".join(
        line.replace(b'"U1"', b'"U%d"' % k).replace(b"ok", b"ok" * 200) for k in range(20_000)
    )
    folder = tiny.write(tmp_path, log=content)
    monkeypatch.setattr(streams, "BLOCK_BYTES", 1 << 18)
    monkeypatch.setattr(json_lines, "SHEET_ROWS", 1000)
    tracemalloc.start()
    raw = read_dataset(tiny.dataset, Params().tables, folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert raw.interactions.height == 20_000
    assert peak < len(content) / 4


def test_python_literals_are_never_run(tmp_path):
    tiny = BY_NAME["steam"]
    proof = tmp_path / "proof"
    line = f"{{'username': open({str(proof)!r}, 'w').name, 'product_id': '1', 'date': '2017-12-17'}}\n".encode()
    with pytest.raises(
        ValueError, match=r"steam_reviews\.json\.gz line 2, is not JSON \(nor a Python literal"
    ):
        raw_of(tiny, tmp_path / "download", **changed_line(tiny, "log", 2, line))
    assert not proof.exists()


@pytest.mark.parametrize(
    "line", [b"(" * 10_000, b"[" * 200_000, b"{'a': 1", b"\xff\xfe", b"{'a': 'b\x00'}"]
)
def test_odd_literals_are_bad_lines(line, tmp_path):
    with pytest.raises(
        ValueError, match=r"steam_reviews\.json\.gz line 2, (is not JSON|column username)"
    ):
        raw_of(BY_NAME["steam"], tmp_path, **changed_line(BY_NAME["steam"], "log", 2, line + b"\n"))


def test_the_lists_of_rlmrec_have_an_items_table(tmp_path):
    counts = raw_of(BY_NAME["split-rlmrec-amazon"], tmp_path).counts
    assert "items_without_table" not in counts
    assert counts["items_missing_from_their_table"] == 1


def test_items_of_no_interaction_are_counted_and_left_out(tmp_path):
    counts = raw_of(BY_NAME["amazon-2018-grocery-and-gourmet-food"], tmp_path).counts
    assert (
        counts["item_rows"],
        counts["repeated_item_rows"],
        counts["items_without_interactions"],
    ) == (4, 1, 1)
    assert counts["items_without_text"] == 1


def test_a_goodreads_rating_of_zero_is_none(tmp_path):
    assert raw_of(BY_NAME["goodreads-poetry"], tmp_path).interactions["rating"].to_list() == [
        4.0,
        None,
        5.0,
    ]


def test_a_catalogue_of_other_ids_is_refused(tmp_path):
    tiny = BY_NAME["yelp"]
    content = tiny.texts[tiny.catalogue].replace(b'"b', b'"c')
    content = content.replace(b'"cusiness_id"', b'"business_id"')
    with pytest.raises(
        ValueError,
        match=r"business\.json: has none of the interactions' items \(it has 'c1', they have "
        r"'b\d'\); delete it",
    ):
        raw_of(tiny, tmp_path, catalogue=content)


def test_the_parts_of_a_split(tmp_path):
    raw = raw_of(BY_NAME["split-gowalla"], tmp_path)
    assert raw.interactions.select("user_id", "item_id", "part").rows() == [
        ("0", "0", 0),
        ("1", "0", 0),
        ("1", "1", 2),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"log": b"0 1\n1 2 3\n0 4\n"},
            r"train\.txt line 3, user 0: has a line already \(line 1\)",
        ),
        ({"log": b"0 1\n1 2 x3\n"}, r"train\.txt line 2, id x3: must be a whole number"),
        (
            {"log": b"0 1\n1 2 1\n", "catalogue": b"0 2\n1 1\n"},
            r"split-gowalla: item 1 of user 1 is in train and test; the parts of a split must not",
        ),
    ],
)
def test_bad_splits(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        raw_of(BY_NAME["split-gowalla"], tmp_path, **change)


def test_bad_rows_are_counted_over_all_sheets():
    sheets = [
        pl.DataFrame({"x": ["a"] * 5, LINE: range(k, k + 5), PROBLEM: [None] * 4 + ["bad"]})
        for k in (1, 6)
    ]
    bad_rows = BadRows("f.csv", 0.2)
    assert [bad_rows.drop(sheet).height for sheet in sheets] == [4, 4]
    bad_rows.check()
    bad_rows = BadRows("f.csv", 0.19)
    for sheet in sheets:
        bad_rows.drop(sheet)
    with pytest.raises(
        ValueError, match=r"f\.csv line 5, bad; .*\(= 0\.19; 2 of 10 rows are bad\)"
    ):
        bad_rows.check()
