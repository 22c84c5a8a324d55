"""Tags and likely interests of every user, from training items alone."""

from __future__ import annotations

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.features.settings import ProfileSettings
from glta.features.text.cache import Provider
from glta.features.text.extractive import extract, item_terms
from glta.features.text.questions import filled, interests_prompt, parse_answers, tags_prompt


def user_words(
    items: pl.DataFrame,
    texts: pl.DataFrame,
    train: Interactions,
    params: ProfileSettings,
    *,
    provider: Provider | None = None,
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Find params.num_tags tags and params.num_interests likely interests of each user.

    items: columns item, categories. texts: columns item, text. provider: answers prompts about each
    user; extracted words complete an answer that holds too few. None: extracted words alone. Users
    without training items get empty lists, and no prompt is asked about them.

    Returns columns user, tags, interests (lists of text), and counts: users "without_tags" and
    "without_interests"; with a provider also the "prompts" and the "incomplete_answers" to them.
    """
    categories = items if "categories" in params.text else None
    terms = item_terms(texts, categories)
    words = extract(terms, train, num_tags=params.num_tags, num_interests=params.num_interests)
    counts: dict[str, int] = {}
    if provider is not None:
        words, counts = _asked_words(words, texts["text"], train, params, provider)
    for name in ("tags", "interests"):
        counts[f"without_{name}"] = int((words[name].list.len() == 0).sum())
    return words, counts


def _asked_words(
    words: pl.DataFrame,
    texts: pl.Series,
    train: Interactions,
    params: ProfileSettings,
    provider: Provider,
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Ask a provider about each user; what an answer lacks comes from the extracted `words`."""
    users = [int(user) for user in np.flatnonzero(train.user_degree)]
    prompts = user_prompts(texts, train, params)
    answers = provider.write(prompts)
    incomplete = 0
    columns = []
    for name, k, of_users in (
        ("tags", params.num_tags, answers[0::2]),
        ("interests", params.num_interests, answers[1::2]),
    ):
        lists = words[name].to_list()
        for user, found in zip(users, parse_answers(of_users, k), strict=True):
            incomplete += len(found) < k
            lists[user] = filled(found, lists[user], k)
        columns.append(pl.Series(name, lists, dtype=pl.List(pl.String)))
    counts = {"prompts": len(prompts), "incomplete_answers": incomplete}
    return words.with_columns(columns), counts


def user_prompts(texts: pl.Series, train: Interactions, params: ProfileSettings) -> list[str]:
    """Write the prompts about users: for each with training items one for tags, one for interests.

    texts: of all items.
    """
    prompts = []
    for user in np.flatnonzero(train.user_degree):
        shown = shown_texts(texts, train.items_of(int(user)), params.items_shown)
        prompts.append(tags_prompt(shown, params.num_tags))
        prompts.append(interests_prompt(shown, params.num_interests))
    return prompts


def shown_texts(texts: pl.Series, items: np.ndarray, limit: int) -> list[str]:
    """Return the texts of at most `limit` of the items, evenly spaced over them.

    Items are sorted by id, so the first `limit` ones would all be from one end of the ids.
    """
    chosen = items
    if items.size > limit:
        chosen = items[np.arange(limit) * items.size // limit]
    return texts.gather(chosen).to_list()
