"""Write item texts and user words, with their language-model states.

Words about users come from training items only.
"""

import polars as pl

from glta.data.prepared import Prepared
from glta.features.profiles import Profiles
from glta.features.text.cache import Cached
from glta.features.text.item_texts import item_texts
from glta.features.text.providers import make_provider
from glta.features.text.user_words import user_words
from glta.params.model import Params
from glta.params.own_models import refuse_other_models
from glta.storage.cell import Cell
from glta.storage.files import whole_folder
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int) -> None:
    """Write data/DATASET/SEED/profile."""
    from glta.nn.language.frozen import load_language

    refuse_other_models(params)
    cell = Cell(dataset, seed)
    prepared = Prepared.load(cell.prepare)
    texts = item_texts(prepared.items, params.profile)
    provider = make_provider(params.profile)
    asked = provider and Cached(provider)
    words, counts = user_words(
        prepared.items, texts, prepared.train, params.profile, provider=asked
    )
    # prompts of the alignment's training must not contain its targets, so their words come from
    # the items of the graph alone
    graph_words, _ = user_words(
        prepared.items, texts, prepared.graph, params.profile, provider=asked
    )
    words = words.with_columns(
        graph_words.select(pl.col("tags", "interests").name.prefix("graph_"))
    )
    language = load_language(params.language)
    item_states = language.encode(texts["text"].to_list(), params.language.batch_tokens)
    described = descriptions(words)
    user_states = language.encode(described.to_list(), params.language.batch_tokens)
    about = {
        "provider": provider.identity if provider else {"provider": "extractive"},
        "language": {
            "model": language.name,
            "sha256": language.sha256,
            "files": language.digests,
            "width": language.width,
        },
        "counts": {"items": texts.height, "users": words.height, **counts},
    }
    joined = words.with_columns(pl.exclude("user").list.join(", "))
    with whole_folder(cell.step("profile")) as out:
        Profiles(texts, joined, item_states, user_states, about).save(out)


def descriptions(words: pl.DataFrame) -> pl.Series:
    """Join the tags and interests of each user into one text."""
    both = pl.col("tags", "interests").list.join(", ")
    return words.select(pl.concat_str(both, separator=", ").str.strip_chars(", ")).to_series()


if __name__ == "__main__":
    run(main)
