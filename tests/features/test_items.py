"""The texts of items."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glta.data.words import LONGEST
from glta.features.settings import ProfileSettings
from glta.features.text.item_texts import clean, item_texts


def catalogue(**columns) -> pl.DataFrame:
    size = len(next(iter(columns.values())))
    defaults = {
        "item_id": [f"B{i}" for i in range(size)],
        "title": [""] * size,
        "description": [""] * size,
    }
    frame = pl.DataFrame(
        {**defaults, **columns, "item": range(size)}, schema_overrides={"item": pl.Int32}
    )
    return (
        frame
        if "categories" in columns
        else frame.with_columns(categories=pl.lit([], dtype=pl.List(pl.String)))
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("  two \n\t words ", "two words"),
        ("a\x00b\u2028c", "a b c"),
        ("soft\u00adhyphen zero\u200bwidth join\u200der", "softhyphen zerowidth joiner"),
        (
            "می\u200cخواهم 👨\u200d👩\u200d👧 ខ្ញុំ\u200bចូល",
            "می\u200cخواهم 👨\u200d👩\u200d👧 ខ្ញុំ\u200bចូល",
        ),
        ("Ｓｏｎｙ　ＡＢＣ－１２ ｶﾞﾝﾀﾞﾑ，", "Sony ABC-12 ガンダム，"),
        ("cafe\u0301 か\u3099 \u1112\u1161\u11ab", "café が 한"),
        ("Tom &amp; Jerry&#39;s &quot;x&quot;", 'Tom & Jerry\'s "x"'),
        ("5&amp;quot; pipe", '5" pipe'),
        ("<p>bold <b>x</b><br/>y</p>", "bold x y"),
        ("1 < 2 &unknown; <3", "1 < 2 &unknown; <3"),
        (None, ""),
    ],
)
def test_clean(raw, expected):
    assert clean(pl.Series([raw], dtype=pl.String)).to_list() == [expected]


def test_columns_in_the_order_of_the_parameters():
    items = catalogue(
        title=["Dune."], categories=[["Novels", "Sci-Fi"]], description=["Sand everywhere"]
    )
    assert item_texts(items, ProfileSettings())["text"].to_list() == [
        "Dune. Novels, Sci-Fi. Sand everywhere"
    ]
    assert item_texts(items, ProfileSettings(text=["description", "title"]))["text"].to_list() == [
        "Sand everywhere. Dune"
    ]


def test_cut_at_max_words():
    items = catalogue(title=["one two three"], description=["four five six"])
    assert item_texts(items, ProfileSettings(max_words=4))["text"].to_list() == [
        "one two three. four"
    ]


def test_cut_at_max_words_without_spaces():
    items = catalogue(title=["银河帝国。"], description=["我喜欢看科幻小说" + "字" * 300_000])
    assert item_texts(items, ProfileSettings(max_words=4))["text"].to_list() == ["银河帝国. 我喜欢"]


def test_no_text_has_an_endless_word():
    endless = "x" * 300_000
    items = catalogue(item_id=["A1", endless], title=[endless, ""], categories=[[endless], []])
    for text in item_texts(items, ProfileSettings())["text"]:
        assert len(text) < 3 * LONGEST


def test_falls_back_to_the_id():
    items = catalogue(item_id=["A1", " "], title=["", "..."], categories=[[], [None]])
    assert item_texts(items, ProfileSettings())["text"].to_list() == ["A1", "item 1"]


@given(
    st.lists(
        st.tuples(st.text(), st.text(), st.lists(st.text(), max_size=3)), min_size=1, max_size=5
    )
)
def test_never_empty_and_always_tidy(rows):
    title, description, categories = map(list, zip(*rows, strict=True))
    items = catalogue(
        title=title,
        description=description,
        categories=pl.Series(categories, dtype=pl.List(pl.String)),
    )
    result = item_texts(items, ProfileSettings(max_words=7))
    assert result["item"].equals(items["item"])
    for text in result["text"]:
        assert text
        assert text == " ".join(text.split(" "))
        assert not any(c in text for c in "\x00\n\r\t\x85\u2028")
        assert len(text.split(" ")) <= 7
