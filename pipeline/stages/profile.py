"""Write item texts, their language-model states, and the tags and interests of users.

Tags and interests of users come from training items only.
"""

import polars as pl

from glta.data.prepared import Prepared
from glta.features.text.cache import Cached
from glta.features.text.item_texts import item_texts
from glta.features.text.providers import make_provider
from glta.features.text.user_words import user_words
from glta.params.model import Params
from glta.storage.arrays import save_arrays
from glta.storage.cell import folder
from glta.storage.files import whole_folder, write_json
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int) -> None:
    """Write data/DATASET/SEED/profile."""
    from glta.nn.language.frozen import load_language

    prepared = Prepared.load(folder(dataset, seed, "prepare"))
    texts = item_texts(prepared.items, params.profile)
    provider = make_provider(params.profile)
    asked = provider and Cached(provider)
    words, counts = user_words(
        prepared.items, texts, prepared.train, params.profile, provider=asked
    )
    # prompts of training must not show words of their targets, so these words come from the
    # graph's items alone
    graph_words, _ = user_words(
        prepared.items, texts, prepared.graph, params.profile, provider=asked
    )
    words = words.with_columns(
        graph_words.select(pl.col("tags", "interests").name.prefix("graph_"))
    )
    language = load_language(params.language)
    states = language.encode(texts["text"].to_list(), params.language.batch_tokens)
    of_users = words.select(
        pl.concat_str(pl.col("tags", "interests").list.join(", "), separator=", ").str.strip_chars(
            ", "
        )
    )
    users = language.encode(of_users.to_series().to_list(), params.language.batch_tokens)
    with whole_folder(folder(dataset, seed, "profile")) as out:
        texts.write_parquet(out / "items.parquet")
        words.with_columns(pl.exclude("user").list.join(", ")).write_parquet(out / "users.parquet")
        save_arrays(out / "states.safetensors", {"item": states, "user": users})
        about = {
            "provider": provider.identity if provider else {"provider": "extractive"},
            "language": {
                "model": language.name,
                "sha256": language.sha256,
                "width": language.width,
            },
            "counts": {"items": texts.height, "users": words.height, **counts},
        }
        write_json(out / "profile.json", about)


if __name__ == "__main__":
    run(main)
