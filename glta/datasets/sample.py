"""The sample: a synthetic bookshop whose readers' taste shows half in the texts and half in who
reads what.

A book has a theme, which its text tells (title, description, categories), and a mood, of which no
text says anything. A reader likes a few themes and one or two moods, and draws books by u =
THEME_WEIGHT * theme + MOOD_WEIGHT * mood + popularity + noise. Text alone finds the themes, also of
books that hardly anyone has read; interactions alone find the moods; both are needed.
"""

# U users, I items, T themes, M moods
from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import polars as pl

from glta.datasets.sample_words import ADJECTIVES, OPENINGS, PEOPLE, SMALL, THEMES, TITLES, TURNS

SEED = 20240501  # the data are the same for every split seed
NUM_USERS, NUM_ITEMS, NUM_MOODS = 800, 600, 12
MEAN_HISTORY, MIN_HISTORY = 31, 10  # books a reader
THEME_WEIGHT, MOOD_WEIGHT, POPULARITY_WEIGHT = 5.0, 4.0, 1.0
THEMES_LIKED, MOODS_LIKED = 3, 2
SECOND_THEME = 0.35  # share of books whose text and appeal mix in another theme
POPULARITY_EXPONENT = 0.8  # of Zipf's law: the book of rank r draws readers as r ** -exponent
START, YEARS = 1_577_836_800, 3  # of the timestamps: seconds since 1970


def write(folder: Path) -> None:
    """Write interactions.csv.gz and items.csv.gz, the same bytes every time."""
    interactions, items = make()
    for name, frame in (("interactions", interactions), ("items", items)):
        with gzip.GzipFile(folder / f"{name}.csv.gz", "wb", mtime=0) as file:
            file.write(frame.write_csv().encode())


def make(seed: int = SEED) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Draw the dataset.

    Returns interactions (user_id, item_id, rating 1..5, timestamp) and items (item_id, title, ...).
    """
    rng = np.random.default_rng(seed)
    first = rng.permutation(np.arange(NUM_ITEMS) % len(THEMES))
    mixed = rng.random(NUM_ITEMS) < SECOND_THEME
    second = np.where(mixed, rng.integers(len(THEMES), size=NUM_ITEMS), first)
    texts = [_text(rng, THEMES[a], THEMES[b]) for a, b in zip(first, second, strict=True)]
    items = pl.DataFrame(
        _distinct_titles(texts), schema=["title", "description", "categories"], orient="row"
    )
    items = items.select(
        pl.int_range(1, pl.len() + 1).alias("item_id"), "title", "description", "categories"
    )

    theme_IT = (np.eye(len(THEMES))[first] + np.eye(len(THEMES))[second]) / 2
    mood_IM = np.eye(NUM_MOODS)[rng.permutation(np.arange(NUM_ITEMS) % NUM_MOODS)]
    popularity_I = -POPULARITY_EXPONENT * np.log(rng.permutation(NUM_ITEMS) + 10)
    theme_UT, mood_UM = _likes(rng, len(THEMES), THEMES_LIKED), _likes(rng, NUM_MOODS, MOODS_LIKED)
    taste_UI = THEME_WEIGHT * theme_UT @ theme_IT.T + MOOD_WEIGHT * mood_UM @ mood_IM.T
    noise_UI = rng.gumbel(
        size=taste_UI.shape
    )  # the largest of utility + Gumbel noise is a draw from its softmax
    order_UI = np.argsort(
        -(taste_UI + POPULARITY_WEIGHT * popularity_I + noise_UI), axis=1, kind="stable"
    )
    size_U = MIN_HISTORY + rng.geometric(1 / (MEAN_HISTORY - MIN_HISTORY), NUM_USERS).clip(
        max=NUM_ITEMS // 4
    )
    user = np.repeat(np.arange(NUM_USERS), size_U)
    item = np.concatenate([order_UI[u, :n] for u, n in enumerate(size_U)])

    liking = taste_UI[user, item] / (THEME_WEIGHT + MOOD_WEIGHT)
    rating = np.clip(np.rint(3 + 2 * liking + rng.normal(0, 0.6, user.size)), 1, 5).astype(np.int64)
    timestamp = START + rng.integers(YEARS * 365 * 86_400, size=user.size)
    columns = {"user_id": user + 1, "item_id": item + 1, "rating": rating, "timestamp": timestamp}
    return pl.DataFrame(columns).sort("user_id", "timestamp", "item_id"), items


def _likes(rng: np.random.Generator, size: int, liked: int) -> np.ndarray:
    """Draw for each reader weights in 0.6..1 for `liked` of `size` kinds, 0 for the others.

    Returns (U, size).
    """
    kinds = np.argsort(rng.random((NUM_USERS, size)), axis=1)[:, :liked]
    likes = np.zeros((NUM_USERS, size))
    np.put_along_axis(likes, kinds, rng.uniform(0.6, 1.0, kinds.shape), axis=1)
    return likes


def _text(rng: np.random.Generator, theme: tuple, other: tuple) -> tuple[str, str, str]:
    """Write one book: title, description, categories.

    A second theme lends two of its eight words.
    """
    words = rng.permutation(theme[2])[:8]
    if other is not theme:
        words[6:] = rng.permutation(other[2])[:2]
    blanks = dict(zip("abcdefgh", words, strict=True))
    title = str(rng.choice(TITLES)).format(adjective=rng.choice(ADJECTIVES), **blanks)
    pattern = f"{rng.choice(OPENINGS)} {rng.choice(TURNS)}"
    description = pattern.format(
        person=rng.choice(PEOPLE), adjective=rng.choice(ADJECTIVES), **blanks
    )
    description = re.sub(r"\ba (?=[aeio])", "an ", description)
    return (
        _title_case(title),
        re.sub(r"(^|\. )(\w)", lambda m: m[1] + m[2].upper(), description),
        theme[0],
    )


def _title_case(title: str) -> str:
    """Capitalise all but the small words within."""
    title = re.sub(r"\ba (?=[aeio])", "an ", title)
    words = [w if w in SMALL else w[:1].upper() + w[1:] for w in title.split()]
    return " ".join([words[0].capitalize(), *words[1:]])


def _distinct_titles(texts: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Number the volumes of books that got the same title."""
    count: dict[str, int] = {}
    out = []
    for title, *rest in texts:
        count[title] = count.get(title, 0) + 1
        out.append((title if count[title] == 1 else f"{title}, Volume {count[title]}", *rest))
    return out
