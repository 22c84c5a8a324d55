"""Write data/DATASET/SEED/prepare: clean, filter and split a dataset."""

from __future__ import annotations

from glta.data.prepare import prepare
from glta.datasets.presets import compare
from glta.datasets.readers import read_dataset
from glta.params.model import Params
from glta.storage.cell import folder
from glta.storage.files import read_json, whole_folder, write_json
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int) -> None:
    raw = read_dataset(
        dataset,
        params.tables,
        folder(dataset, "download"),
        max_bad_share=params.prepare.max_bad_share,
    )
    tables = prepare(raw, params.prepare, seed)
    published = compare(dataset, tables.counts, params.prepare.published == "require")
    card = {
        "source": read_json(folder(dataset, "download", "source.json")),
        "prepare": params.prepare.model_dump(),
        "published": published,
        "counts": tables.counts,
    }
    with whole_folder(folder(dataset, seed, "prepare")) as out:
        tables.save(out)
        write_json(out / "card.json", card)
    for step in tables.counts["steps"]:
        print(
            "{step}: {users} users, {items} items, {interactions} interactions; {dropped} dropped "
            "({why})".format(**step)
        )
    c = tables.counts
    if missing := raw.counts["items_missing_from_their_table"]:
        print(f"{missing} items have no row in the items' table: their id is their title")
    print(
        f"train {c['train']} (of which targets {c['target']}), valid {c['valid']}, test {c['test']}"
    )
    if any(c["cold"].values()):
        print(
            "not seen in training: {users} users, {items} items, {valid} valid and {test} test "
            "pairs".format(**c["cold"])
        )


if __name__ == "__main__":
    run(main)
