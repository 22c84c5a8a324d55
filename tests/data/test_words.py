"""Words of any language: their number, their ends, and spellings of one word."""

import polars as pl
import pytest

from glta.data.words import BREAK, LONGEST, count_words, first_words, same_word, with_breaks


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我喜欢看科幻小说，因为它们很有趣。", "我|喜欢|看|科幻|小说，|因为|它们|很|有趣。"),
        ("私は「猫」が好き", "私|は|「猫」|が|好き"),
        ("iPhoneケース Sci-Fi映画", "iPhone|ケース Sci-Fi|映画"),
        ("ผู้หญิงชอบดูหนัง", "ผู้|หญิง|ชอบ|ดู|หนัง"),
        ("ຂ້ອຍມັກເບິ່ງໜັງ", "ຂ້ອຍ|ມັກ|ເບິ່ງ|ໜັງ"),
        ("ខ្ញុំចូលចិត្ត", "ខ្ញុំ|ចូលចិត្ត"),
        ("ကျွန်တော်ရုပ်ရှင်ကြည့်", "ကျွန်တော်|ရုပ်ရှင်|ကြည့်"),
        ("བཀྲ་ཤིས།", "བཀྲ་|ཤིས།"),
        ("评价3.5分", "评价|3.5|分"),
        ("😀好😀好", "😀|好😀|好"),
        ("हिन्दी में don't rock-n-roll 3.5 한국어", "हिन्दी में don't rock-n-roll 3.5 한국어"),
    ],
)
def test_words_of_scripts_without_spaces(text, words):
    """The last one has spaces, so nothing is added."""
    texts = pl.Series([None, text])
    assert with_breaks(texts).to_list() == [None, words.replace("|", BREAK)]
    assert texts.to_list() == [None, text], "the argument stays as it is"


def test_cut_and_count_go_by_words():
    texts = pl.Series(["我喜欢看科幻小说", "हिन्दी में विज्ञान कथा", "one two. three", "猫 犬"])
    assert count_words(texts).to_list() == [5, 4, 3, 2]
    assert first_words(texts, 3).to_list() == [
        "我喜欢看",
        "हिन्दी में विज्ञान",
        "one two. three",
        "猫 犬",
    ]


def test_an_endless_word_is_cut():
    texts = pl.Series(["a " + "x" * 300_000 + " z", "我" * 300_000])
    assert first_words(texts, 9).to_list() == ["a " + "x" * LONGEST + " z", "我" * 9]


@pytest.mark.parametrize(
    "spellings",
    [
        ["Straße", "STRASSE", "strasse"],
        ["İstanbul", "istanbul", "ISTANBUL"],
        ["don't", "don’t", "DONʼT"],
        ["rock-n-roll", "rock‑n‐roll"],
        ["ΟΔΟΣ", "οδος", "οδοσ"],
        ["كتاب", "كتـــاب"],
        ["می\u200cخواهم", "میخواهم"],
    ],
)
def test_spellings_of_one_word(spellings):
    assert len({same_word(word) for word in spellings}) == 1


def test_other_words_stay_apart():
    words = ["resume", "résumé", "कि", "की", "がき", "かき", "well", "we'll"]
    assert len({same_word(word) for word in words}) == len(words)
