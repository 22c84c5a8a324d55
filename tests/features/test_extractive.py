"""Extracted tags and interests equal a slow, obvious form, and tell nothing of held-out pairs."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from glta.data.interactions import Interactions
from glta.features.settings import ProfileSettings
from glta.features.text import extractive
from glta.features.text.extractive import emphases, extract, item_terms, similar_terms
from glta.features.text.item_texts import clean, item_texts
from glta.features.text.user_words import user_words
from glta.testing.blocks import LONER

WORDS = [
    "apple",
    "brick",
    "cloud",
    "drum",
    "eagle",
    "flute",
    "grape",
    "house",
    "ink",
    "jade",
    "kite",
    "lamp",
]


@pytest.fixture
def random_world():
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice(WORDS, 4, replace=False)) for _ in range(30)]
    pairs = np.flatnonzero(rng.random(25 * 30) < 0.15)
    train = Interactions.of(*np.divmod(pairs, 30), 25, 30)
    return pl.DataFrame({"item": pl.Series(range(30), dtype=pl.Int32), "text": texts}), train


def naive_emphases(texts, train, user):
    mine = [set(texts["text"][int(i)].split()) for i in train.items_of(user)]
    everything = [set(text.split()) for text in texts["text"]]
    result = {}
    for word in WORDS:
        c = sum(word in text for text in mine)
        n = len(mine)
        p = sum(word in text for text in everything) / len(everything)
        if c and (value := c * math.log((c + p) / ((n + 1) * p))) > 1e-9:
            result[word] = value
    return result


def test_tags_equal_the_naive_form(random_world):
    texts, train = random_world
    found = extract(item_terms(texts), train, num_tags=3, num_interests=3)
    for user in range(train.num_users):
        values = naive_emphases(texts, train, user)
        assert (
            found["tags"][user].to_list()
            == sorted(values, key=lambda w: (-round(values[w], 9), w))[:3]
        )


def test_interests_equal_the_naive_form(random_world):
    texts, train = random_world
    all_values = [naive_emphases(texts, train, user) for user in range(train.num_users)]
    profile = np.array([[values.get(word, 0) for word in WORDS] for values in all_values])
    profile /= np.maximum(np.linalg.norm(profile, axis=1, keepdims=True), 1e-12)
    together = profile.T @ profile
    own = np.sqrt(np.diag(together))
    similar = together / (np.outer(own, own) + extractive.SHRINKAGE)
    np.fill_diagonal(similar, 0)
    value = np.where(profile > 0, 0, profile @ similar)
    found = extract(item_terms(texts), train, num_tags=3, num_interests=3)
    for user in range(train.num_users):
        expected = [
            WORDS[t] for t in np.argsort(-value[user], kind="stable")[:3] if value[user, t] > 0
        ]
        assert found["interests"][user].to_list() == expected


def test_blocks_do_not_matter(random_world):
    texts, train = random_world
    terms = item_terms(texts)
    emphasis = emphases(terms, train)
    profile = extractive.profiles(extractive.top_terms(emphasis, 5), emphasis.shape)
    given = emphasis, profile, extractive.similarities(profile), 4
    assert extractive.top_interests(*given, block=4).equals(extractive.top_interests(*given))


def test_words_of_others_are_those_of_users_with_the_same_items(random_world):
    texts, train = random_world
    terms = item_terms(texts)
    users = [3, 0]
    row, item = train.rows(np.array(users))
    others = extract(
        terms,
        Interactions.of(row, item, 2, train.num_items),
        num_tags=3,
        num_interests=3,
        similar=similar_terms(terms, train),
    )
    assert others.drop("user").equals(
        extract(terms, train, num_tags=3, num_interests=3)[users].drop("user")
    )


def test_categories_are_phrases_and_stop_words_are_gone():
    texts = pl.DataFrame(
        {"item": [0, 1], "text": ["The Science of Fiction, Gadgets", "Science and roses"]}
    )
    categories = pl.DataFrame({"item": [0, 1], "categories": [["Science, Fiction"], []]})
    assert item_terms(texts, categories).names.tolist() == [
        "gadgets",
        "roses",
        "science",
        "science fiction",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("猫和狗喜欢科幻小说", "喜欢 小说 狗 猫 科幻"),
        ("私は猫が好き", "好き 猫 私"),
        ("ผู้หญิงชอบดูหนัง", "ชอบ ดู ผู้ หญิง หนัง"),
        ("हिन्दी में विज्ञान", "में विज्ञान हिन्दी"),
        ("책 한국어", "책 한국어"),
        ("می\u200cخواهم كتاب كتـــاب", "كتاب می\u200cخواهم"),
        ('צה"ל שלום', 'צה"ל שלום'),
        ("cafe\u0301 café Việt", "café việt"),
        ("rock-n-roll rock‑n‑roll 3.5 x", "rock-n-roll"),
        ("it’s It's DON’T don't", "don't"),
        ("Straße STRASSE İstanbul istanbul", "istanbul strasse"),
        ("Ｓｏｎｙ sony", "sony"),
        ("see https://www.example.com/cats?a=1 www.dogs.org", "see"),
        ("<script>evil()</script><!-- hidden --><b>seen</b>", "seen"),
        ("x" * 300_000 + " tail", "tail"),
        ("👨\u200d👩\u200d👧 emoji", "emoji"),
    ],
)
def test_terms_of_all_languages(text, expected):
    found = item_terms(pl.DataFrame({"item": [0], "text": clean(pl.Series([text]))}))
    assert found.names.tolist() == expected.split(" ")


def test_categories_are_cleaned():
    texts = pl.DataFrame({"item": [0], "text": ["roses"]})
    given = ["Sci&amp;Fi", "<i>L&#39;Oreal</i>", "Ｃafe\u0301", "y" * 300, "<style>a{}</style>"]
    categories = pl.DataFrame({"item": [0], "categories": [given]})
    assert item_terms(texts, categories).names.tolist() == ["café", "l'oreal", "roses", "sci&fi"]


def test_a_term_is_written_as_most_items_write_it():
    texts = ["STRASSE", "Straße", "Straße lang"]
    terms = item_terms(pl.DataFrame({"item": [0, 1, 2], "text": texts}))
    assert terms.names.tolist() == ["lang", "straße"]
    assert terms.item.toarray()[:, 1].tolist() == [1, 1, 1]


def test_vocabulary_is_limited_to_the_frequent(monkeypatch):
    monkeypatch.setattr(extractive, "VOCABULARY", 2)
    texts = pl.DataFrame({"item": [0, 1, 2], "text": ["zebra yak", "zebra ant", "bee"]})
    assert item_terms(texts).names.tolist() == ["ant", "zebra"]


def test_texts_without_a_word():
    texts = pl.DataFrame({"item": [0, 1], "text": ["1", "!"]})
    found = extract(item_terms(texts), Interactions.of([0], [1], 2, 2), num_tags=3, num_interests=3)
    assert found["tags"].to_list() == found["interests"].to_list() == [[], []]


def test_tags_tell_the_blocks_apart(prepared):
    words, counts = user_words(
        prepared.items,
        item_texts(prepared.items, ProfileSettings()),
        prepared.train,
        ProfileSettings(num_tags=4),
    )
    assert {"garden", "outdoors"} <= set(words["tags"][0])
    assert {"science fiction", "gadgets"} <= set(words["tags"][1])
    assert words["tags"][LONER].to_list() == []
    assert counts["without_tags"] == 1


class Echo:
    """Keeps the prompts that it is asked, and answers all alike."""

    def __init__(self):
        self.asked: list[str] = []

    def write(self, prompts):
        self.asked += prompts
        return ["one, two"] * len(prompts)


def test_nothing_leaks_from_held_out_pairs(prepared):
    """Give every held-out item to somebody else: tags, interests and prompts stay the same."""
    rng = np.random.default_rng(5)
    free = ~prepared.train.contains(
        *np.divmod(np.arange(prepared.train.num_users * prepared.train.num_items), 20)
    )
    pairs = rng.permutation(np.flatnonzero(free))
    half = [
        Interactions.of(*np.divmod(part, 20), prepared.train.num_users, 20)
        for part in np.array_split(pairs, 2)
    ]
    changed = replace(prepared, valid=half[0], test=half[1])
    params = ProfileSettings(num_tags=3)
    results = []
    for data in (prepared, changed):
        texts = item_texts(data.items, params)
        echo = Echo()
        words, _ = user_words(data.items, texts, data.train, params)
        user_words(data.items, texts, data.train, params, provider=echo)
        results.append((words.to_dicts(), echo.asked))
    assert results[0] == results[1]
    # and no prompt shows an item that the user holds out
    asked = np.flatnonzero(prepared.train.user_degree)
    texts = item_texts(prepared.items, params)["text"]
    for user, prompt in zip(np.repeat(asked, 2), results[0][1], strict=True):
        shown = {i for i in range(20) if f"- {texts[i]}\n" in prompt}
        assert shown == set(prepared.train.items_of(user).tolist())


def test_changing_training_pairs_does_change_the_words(prepared):
    """The leak test can fail: it would notice other pairs."""
    texts = item_texts(prepared.items, ProfileSettings())
    before, _ = user_words(prepared.items, texts, prepared.train, ProfileSettings())
    swapped = Interactions.of(
        prepared.train.user, prepared.train.item ^ 1, prepared.train.num_users, 20
    )
    assert (
        user_words(prepared.items, texts, swapped, ProfileSettings())[0]["tags"].to_list()
        != before["tags"].to_list()
    )


def test_answers_are_filled_from_the_extracted_words(prepared):
    params = ProfileSettings(num_tags=4, num_interests=2)
    words, counts = user_words(
        prepared.items, item_texts(prepared.items, params), prepared.train, params, provider=Echo()
    )
    assert words["tags"][0].to_list()[:2] == ["one", "two"]
    assert len(words["tags"][0]) == 4
    assert words["interests"][0].to_list() == ["one", "two"]
    assert words["tags"][LONER].to_list() == []
    assert counts == {
        "prompts": 46,
        "incomplete_answers": 23,
        "without_tags": 1,
        "without_interests": 1,
    }
