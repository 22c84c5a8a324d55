r"""Run both alignments in several processes; see test_alignment_processes.

    accelerate launch --multi_gpu --num_processes 2 -m tests.methods.glta.alignment_processes \
        FOLDER MODELS

MODELS holds a language model of each kind, and pretrain/. Each process writes
FOLDER/NAME-RANK.safetensors: weights, states of all users, histories. With --stop-in, the main
process stops for ever in epoch 1 of that alignment, after it has written FOLDER/stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from glta.storage.tensors import save_tensors
from glta.testing.blocks import block_prepared
from glta.training.devices import find_devices
from tests.methods.glta.small import ITEMS, USERS, Small

LONGER = {"epochs": 3, "patience": 9}
VARIANTS = {
    "free": {"kind": "encoder", "micro_batch": 3},
    "tied": {"kind": "causal", "head": "tied", "head_rank": 4},
    "lora": {"kind": "causal", "lora_rank": 2, "lora_dropout": 0.0, "head_init": "random"},
}


def aligned(
    name: str, folder: Path, checkpoint: Path | None = None, on_epoch=lambda record, step: None
) -> tuple[dict[str, torch.Tensor], dict[str, list[dict]]]:
    """Run both alignments of one variant. Returns weights and states, and the histories."""
    shared = dict(VARIANTS[name])
    run = Small.make(
        folder / shared.pop("kind"),
        folder / "pretrain",
        block_prepared(),
        ITEMS.model_copy(update=LONGER),
        USERS.model_copy(update=LONGER),
        **shared,
    )

    def place(step: str) -> Path | None:
        return checkpoint and checkpoint / step

    aligner, items = run.stage_2(place("items"), lambda record: on_epoch(record, "items"))
    after_items = {f"items.{name}": tensor.clone() for name, tensor in aligner.tensors().items()}
    states, users = run.stage_3(aligner, place("users"), lambda record: on_epoch(record, "users"))
    return after_items | aligner.tensors() | {"states": states}, {"items": items, "users": users}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("--stop-in", default="")
    wanted = parser.parse_args()
    rank = find_devices().rank

    for name in VARIANTS:

        def on_epoch(record: dict, step: str, name: str = name) -> None:
            assert rank == 0  # the main process alone reports
            if f"{name}-{step}" == wanted.stop_in and record["epoch"] == 1:
                (wanted.folder / "stopped").touch()
                time.sleep(1000)

        found, histories = aligned(name, wanted.models, wanted.folder / name, on_epoch)
        save_tensors(wanted.folder / f"{name}-{rank}.safetensors", found, histories)


if __name__ == "__main__":
    main()
