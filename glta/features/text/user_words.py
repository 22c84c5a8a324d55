"""Tags and likely interests of every user, from training items only."""

# U users
from __future__ import annotations

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.features.settings import ProfileSettings
from glta.features.text.cache import Provider
from glta.features.text.extractive import extract, item_terms
from glta.features.text.questions import filled, interests_prompt, parse, tags_prompt


def user_words(
    items: pl.DataFrame,
    texts: pl.DataFrame,
    train: Interactions,
    params: ProfileSettings,
    provider: Provider | None = None,
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Find num_tags tags and num_interests likely interests of each user.

    items: columns item, categories. texts: columns item, text. provider: who is asked; None takes
    extracted words. What an answer lacks is filled from the extracted words. Users without training
    items get empty lists and are not asked. Returns columns user, tags, interests (lists of text),
    and counts: users "without_tags" and "without_interests", and with a provider the "prompts"
    answered and the "incomplete_answers" among them.
    """
    categories = items if "categories" in params.text else None
    words = extract(item_terms(texts, categories), train, params.num_tags, params.num_interests)
    counts = {}
    if provider is not None:
        asked = np.flatnonzero(train.user_degree)
        shown = [
            shown_texts(texts["text"], train.items_of(user), params.items_shown) for user in asked
        ]
        kinds = (
            ("tags", tags_prompt, params.num_tags),
            ("interests", interests_prompt, params.num_interests),
        )
        prompts = [prompt(lines, k) for lines in shown for _, prompt, k in kinds]
        answers = provider.write(prompts)
        lists = {name: words[name].to_list() for name, _, _ in kinds}
        incomplete = 0
        for place, (name, _, k) in enumerate(kinds):
            for user, answer in zip(asked, answers[place :: len(kinds)], strict=True):
                found = parse(answer, k)
                incomplete += len(found) < k
                lists[name][user] = filled(found, lists[name][user], k)
        words = words.with_columns(
            pl.Series(name, lists[name], dtype=pl.List(pl.String)) for name in lists
        )
        counts = {"prompts": len(prompts), "incomplete_answers": incomplete}
    for name in ("tags", "interests"):
        counts[f"without_{name}"] = int((words[name].list.len() == 0).sum())
    return words, counts


def shown_texts(texts: pl.Series, items: np.ndarray, limit: int) -> list[str]:
    """Take the texts of at most `limit` items, evenly spaced over the given ones, so that no end of
    the ids is preferred.
    """
    chosen = items[np.arange(limit) * items.size // limit] if items.size > limit else items
    return texts.gather(chosen).to_list()
