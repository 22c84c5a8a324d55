"""Stage 2 of GLTA: align items with the texts that describe them."""

import polars as pl

from glta.align.items import align_items
from glta.align.nodes import load_nodes
from glta.data.prepared import Prepared
from glta.files import whole_folder, write_json
from glta.methods.arrays import load_arrays
from glta.models.language import load_language
from glta.params import Params
from glta.progress import record_epoch
from glta.training import save_tensors
from pipeline.stage import checkpoint_folder, folder, run


def main(params: Params, dataset: str, seed: int) -> None:
    """Write data/DATASET/SEED/align_items: item projector and head."""
    source = folder(dataset, seed)
    prepared = Prepared.load(source / "prepare")
    aligner, history = align_items(
        load_language(params.language),
        load_nodes(source / "pretrain", prepared, params.align).training,
        pl.read_parquet(source / "profile" / "items.parquet")["text"].to_list(),
        load_arrays(source / "profile" / "states.safetensors")[0]["item"],
        params.align_items,
        params.align,
        seed,
        params.language.batch_tokens,
        checkpoint=checkpoint_folder(),
        on_epoch=record_epoch,
    )
    with whole_folder(source / "align_items") as out:
        save_tensors(out / "model.safetensors", aligner.tensors(), {"enabled": params.align_items.enabled})
        write_json(out / "history.json", history)


if __name__ == "__main__":
    run(main)
