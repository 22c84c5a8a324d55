"""The prompts about users, and how answers are read."""

import numpy as np
import polars as pl
import pytest

from glta.features.text.questions import filled, interests_prompt, parse_answers, tags_prompt
from glta.features.text.user_words import shown_texts


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("robots, space, tea", ["robots", "space", "tea"]),
        ('1. "Robots"\n2) Space opera.\n3: tea', ["robots", "space opera", "tea"]),
        ("- robots\n* space\n• tea", ["robots", "space", "tea"]),
        ("Here are 3 tags: robots; space; tea", ["robots", "space", "tea"]),
        ("Tags:\n\n**robots**\n`space`", ["robots", "space"]),
        ("1. robots 2. space 3. tea", ["robots", "space", "tea"]),
        ("<think>hm, cars</think>robots", ["robots"]),
        ("<think>never ends, cars", []),
        ("robots, Robots, ROBOTS.", ["robots"]),
        ("a, b, c, d, e, f", ["a", "b", "c", "d"]),
        ("This person seems to like a great many robots. \nspace", ["space"]),
        ("80s music, 3d printing, sci-fi", ["80s music", "3d printing", "sci-fi"]),
        ("标签：科幻小说、太空歌剧，茶", ["科幻小说", "太空歌剧", "茶"]),
        ("1．宇宙\n2．「ロボット」", ["宇宙", "ロボット"]),
        ("这个人喜欢看科幻小说和太空歌剧还有很多。茶", []),
        ("الروبوتات، الفضاء؛ شاي", ["الروبوتات", "الفضاء", "شاي"]),
        ("<b>robots</b>, cafe\u0301, Tom &amp; Jerry", ["robots", "café", "tom & jerry"]),
        ("robots, \ud83d, " + "x" * 300_000, ["robots"]),
        ("", []),
        ("\n,;- ,\x00", []),
    ],
)
def test_parse_answers(answer, expected):
    """Each alone, and between others."""
    assert parse_answers([answer], 4) == [expected]
    assert parse_answers(["a", answer, "", "b"], 4) == [["a"], expected, [], ["b"]]


def test_filled():
    assert filled(["a", "b"], ["b", "c", "d"], 3) == ["a", "b", "c"]
    assert filled([], [], 3) == []


def test_prompts_show_the_texts_and_the_number():
    for write in (tags_prompt, interests_prompt):
        prompt = write(["Dune", "Solaris"], 7)
        assert "- Dune\n- Solaris\n" in prompt
        assert "exactly 7" in prompt


def test_shown_texts_are_spread():
    texts = pl.Series([str(i) for i in range(10)])
    assert shown_texts(texts, np.arange(10), 5) == ["0", "2", "4", "6", "8"]
    assert shown_texts(texts, np.array([3, 7]), 5) == ["3", "7"]
