"""Stage 2 from the folders of one dataset and seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from glta.data.prepared import Prepared
from glta.methods.glta.item_alignment import ItemStage, align_items
from glta.methods.glta.nodes import load_nodes
from glta.nn.language.frozen import load_language
from glta.params.model import Params
from glta.storage.arrays import load_arrays


def run_item_stage(
    cell: Path,
    prepared: Prepared,
    params: Params,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
) -> ItemStage:
    """Train item projector and head. cell: folder with profile/ and pretrain/."""
    aligner, history = align_items(
        load_language(params.language.at(params.align.precision)),
        load_nodes(cell / "pretrain", prepared, params.align).training,
        pl.read_parquet(cell / "profile" / "items.parquet")["text"].to_list(),
        load_arrays(cell / "profile" / "states.safetensors")[0]["item"],
        prepared.train.item_degree > 0,
        params.align_items,
        params.align,
        seed,
        params.language.batch_tokens,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    return ItemStage(aligner.tensors(), params.align_items.enabled, history)
