"""The text of HTML."""

from time import process_time

import polars as pl
import pytest

from glta.features.text.item_texts import clean


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("<p>Hi</p><script>var evil='</p>';</script><style>.a{}</style><!-- hid --> you", "Hi you"),
        ("&lt;script&gt;evil()&lt;/script&gt;good", "good"),
        ("&amp;lt;b&amp;gt;bold&amp;lt;/b&amp;gt;", "bold"),
        ("good<script>cut off", "good"),
        ("good <!-- cut off", "good"),
        ("good <a href='http://cut", "good"),
        ("good <br", "good"),
        ("H<sub>2</sub>O<br>two<li>three<hr/>four", "H2O two three four"),
        ("<tr><th>Size</th><td>5</td></tr>no table<TD>x", "Size 5 no table x"),
        ("<a title='<x> &quot;y&quot; &gt;'>link</a> on", "link on"),
        ("<img src='data:image/png;base64," + "A" * 5000 + "'>seen", "seen"),
        ("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字</ruby>", "漢字"),
        ("<o:p>Word</o:p> <x-y z='1'>page</x-y>", "Word page"),
        ("<svg><title>no</title><path d='M0'/></svg>yes", "yes"),
        (
            "1 < 2 > 0, <3, vector<int>, AT&T, &unknown;",
            "1 < 2 > 0, <3, vector<int>, AT&T, &unknown;",
        ),
        ("a <b and c", "a <b and c"),
        ("<p>5 &lt; 6 &amp;&amp; R&D</p>", "5 < 6 && R&D"),
        ("Tom &amp;amp; Jerry&amp;#39;s", "Tom & Jerry's"),
        ("<b></b>", ""),
    ],
)
def test_markup_is_left_out_and_nothing_else(raw, expected):
    texts = pl.Series(["plain", raw])
    assert clean(texts).to_list() == ["plain", expected]
    assert texts.to_list() == ["plain", raw], "the argument stays as it is"


@pytest.mark.parametrize("part", ["<b>", "<!--", "<a ", "<a b='"])
def test_time_grows_with_the_length_alone(part):
    """It takes a second at most; a quadratic form takes minutes."""
    start = process_time()
    clean(pl.Series([part * (150_000 // len(part))]))
    assert process_time() - start < 20
