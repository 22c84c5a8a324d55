r"""Train GAL-Rec in several processes; see test_view_processes.

    accelerate launch --multi_gpu --num_processes 2 -m tests.methods.gal_rec.view_processes \
        FOLDER MODELS

MODELS holds a language model and pretrain-graph/. Each process writes
FOLDER/NAME-RANK.safetensors: weights, queues, vectors of all users, history. With --stop-in, the
main process stops for ever in epoch 1 of that variant, after it has written FOLDER/stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glta.storage.tensors import save_tensors
from glta.testing.blocks import NUM_USERS
from glta.training.devices import find_devices
from glta.training.trainer import train
from tests.methods.gal_rec.made import make_task

# 7 examples a step: the processes have unequal shares
EXACT = {"lora_dropout": 0.0, "batch_size": 7, "steps": 6}
VARIANTS: dict[str, dict[str, Any]] = {
    "queue": EXACT | {"micro_batch": 2},
    "averaged": EXACT | {"average": 0.9, "train": "whole"},
    "means": EXACT | {"reading": "means", "batch_size": 1},
}


def trained(
    name: str, models: Path, checkpoint: Path | None = None, on_epoch=lambda record: None
) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Train one variant. Returns weights, queues and users' vectors, and the history."""
    task = make_task(models / "encoder", models / "pretrain-graph", **VARIANTS[name])
    found = train(task, epochs=3, patience=9, checkpoint=checkpoint, on_epoch=on_epoch)
    users = {"users": task.read_users(np.arange(NUM_USERS))}
    return {**task.tensors(), **task.state(), **users}, found.history


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("--stop-in", default="")
    wanted = parser.parse_args()
    rank = find_devices().rank

    for name in VARIANTS:

        def on_epoch(record: dict, name: str = name) -> None:
            assert rank == 0  # the main process alone reports
            if name == wanted.stop_in and record["epoch"] == 1:
                (wanted.folder / "stopped").touch()
                time.sleep(1000)

        found, history = trained(name, wanted.models, wanted.folder / name, on_epoch)
        save_tensors(wanted.folder / f"{name}-{rank}.safetensors", found, {"history": history})


if __name__ == "__main__":
    main()
