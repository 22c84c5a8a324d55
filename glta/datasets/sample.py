"""The sample: a synthetic bookshop that needs both the texts and the interactions.

A book has a theme, which its title, description and category tell, and a mood, which no text tells.
A reader likes a few themes and one or two moods, and takes the books of the largest

    THEME_WEIGHT * theme + MOOD_WEIGHT * mood + POPULARITY_WEIGHT * popularity + noise.

Texts alone find the themes, also those of books that hardly anyone has read. Interactions alone
find the moods.
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
NUM_USERS = 800
NUM_ITEMS = 600
NUM_MOODS = 12
MEAN_HISTORY = 31  # books of a reader
MIN_HISTORY = 10
THEME_WEIGHT = 5.0
MOOD_WEIGHT = 4.0
POPULARITY_WEIGHT = 1.0
THEMES_LIKED = 3  # by a reader
MOODS_LIKED = 2
SECOND_THEME = 0.35  # share of books whose text and appeal mix in another theme
POPULARITY_EXPONENT = 0.8  # of Zipf's law: the book of rank r draws readers as r ** -exponent
START = 1_577_836_800  # of the timestamps, in seconds since 1970: 2020-01-01
YEARS = 3  # that the timestamps span


def write(folder: Path) -> None:
    """Write interactions.csv.gz and items.csv.gz into a folder, the same bytes every time."""
    interactions, items = make()
    for name, frame in (("interactions", interactions), ("items", items)):
        with gzip.GzipFile(folder / f"{name}.csv.gz", "wb", mtime=0) as file:
            file.write(frame.write_csv().encode())


def make(seed: int = SEED) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Draw the dataset.

    Returns two frames: interactions with columns user_id, item_id, rating (1 to 5) and timestamp,
    and items with columns item_id, title, description and categories.
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
    theme_UT = _likes(rng, len(THEMES), THEMES_LIKED)
    mood_UM = _likes(rng, NUM_MOODS, MOODS_LIKED)
    taste_UI = THEME_WEIGHT * theme_UT @ theme_IT.T + MOOD_WEIGHT * mood_UM @ mood_IM.T
    # The book with the largest utility + Gumbel noise is a draw from the softmax of utilities.
    noise_UI = rng.gumbel(size=taste_UI.shape)
    utility_UI = taste_UI + POPULARITY_WEIGHT * popularity_I + noise_UI
    order_UI = np.argsort(-utility_UI, axis=1, kind="stable")
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
    """Draw how much each reader likes each of `size` themes or moods, (U, size).

    `liked` of them have a weight between 0.6 and 1, the others have 0.
    """
    kinds = np.argsort(rng.random((NUM_USERS, size)), axis=1)[:, :liked]
    likes = np.zeros((NUM_USERS, size))
    np.put_along_axis(likes, kinds, rng.uniform(0.6, 1.0, kinds.shape), axis=1)
    return likes


def _text(rng: np.random.Generator, theme: tuple, other: tuple) -> tuple[str, str, str]:
    """Write title, description and category of one book.

    theme, other: entries of THEMES. A second theme that differs gives two of the eight words.
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
    description = re.sub(r"(^|\. )(\w)", lambda m: m[1] + m[2].upper(), description)
    return _title_case(title), description, theme[0]


def _title_case(title: str) -> str:
    """Capitalise the first word, and all others that are not in SMALL."""
    title = re.sub(r"\ba (?=[aeio])", "an ", title)
    words = [w if w in SMALL else w[:1].upper() + w[1:] for w in title.split()]
    return " ".join([words[0].capitalize(), *words[1:]])


def _distinct_titles(texts: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Number the books that got the same title as volumes."""
    count: dict[str, int] = {}
    distinct = []
    for title, description, category in texts:
        count[title] = count.get(title, 0) + 1
        volume = "" if count[title] == 1 else f", Volume {count[title]}"
        distinct.append((title + volume, description, category))
    return distinct
