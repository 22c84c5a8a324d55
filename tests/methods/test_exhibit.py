"""An exhibit is what a method shows of itself: saved and read whole, or refused with the file."""

import json
import re

import pytest

from glta.methods.exhibit import Exhibit, ExhibitPicture, ExhibitTable
from glta.pictures.svg import Drawing


@pytest.fixture
def exhibit() -> Exhibit:
    drawing = Drawing(40, 20, "Codes", "Two levels of codes")
    drawing.bar(0, 0, 20, 10, kind="m0", tip="level 1")
    table = ExhibitTable(
        title="Codes by level",
        columns=("level", "used codes", "share", "kind"),
        rows=(("1", 12, 0.5, "ours"), ("2", 7, 1.0, None)),
        note="More used codes are better.",
        digits=2,
    )
    picture = ExhibitPicture(title="Tree", caption="Each bar is a level.", svg=drawing.svg())
    return Exhibit(title="Codes of the items", text="Ä", tables=(table,), pictures=(picture,))


def test_saved_and_loaded_it_is_the_same(exhibit, tmp_path):
    exhibit.save(tmp_path)
    loaded = Exhibit.load(tmp_path)
    assert loaded == exhibit
    assert [type(entry) for entry in loaded.tables[0].rows[1]] == [str, int, float, type(None)]
    first = (tmp_path / "exhibit.json").read_bytes()
    loaded.save(tmp_path)
    assert (tmp_path / "exhibit.json").read_bytes() == first


def test_a_folder_without_an_exhibit_has_none(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    assert Exhibit.load(tmp_path) is None


def changed(**values):
    return lambda found: json.dumps(found | values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda found: json.dumps(found)[:-9], "not readable as JSON"),
        (lambda _: "[1, 2]", "has schema None"),
        (changed(schema=2), "has schema 2, this version of glta reads 1"),
        (changed(title=""), "title: .*at least 1 character"),
        (changed(colour="red"), "colour: Extra inputs"),
        (
            changed(tables=[{"title": "t", "columns": ["a", "b"], "rows": [[1, 2], [1]]}]),
            "tables.0: .*row 1 of the table 't' has 1 entries for 2 columns",
        ),
        (
            changed(tables=[{"title": "t", "columns": ["a"], "rows": [[True]]}]),
            "tables.0.rows.0.0",
        ),
        (
            changed(pictures=[{"title": "p", "caption": "", "svg": "<svg><script/></svg>"}]),
            "pictures.0.svg: .*not an element svg with a viewBox",
        ),
    ],
)
def test_a_damaged_file_is_one_error_that_names_it(exhibit, tmp_path, damage, message):
    exhibit.save(tmp_path)
    path = tmp_path / "exhibit.json"
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}") as raised:
        Exhibit.load(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True])
def test_what_is_no_number_is_refused_where_it_is_made(value):
    with pytest.raises(ValueError, match="rows"):
        ExhibitTable(title="t", columns=("a",), rows=((value,),))


def test_an_unsafe_picture_is_refused_where_it_is_made():
    svg = '<svg viewBox="0 0 1 1" aria-label="a"><rect onclick="alert(1)"/></svg>'
    with pytest.raises(ValueError, match="attribute 'onclick'"):
        ExhibitPicture(title="p", caption="", svg=svg)
