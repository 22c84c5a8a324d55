"""Checkpoints from which a training resumes to the last bit."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from glta.storage.tensors import load_checked, save_checked


class Checkpoint:
    """Keep the latest state of one training loop in a folder; without a folder, keep nothing.

    The folder belongs to one combination of inputs and parameters (the stage runner sees to that),
    so what is found there may be resumed if only it is whole.
    """

    def __init__(self, folder: Path | str | None):
        self.path = Path(folder) / "state.safetensors" if folder else None

    def load(self, announce: bool = True) -> tuple[dict[str, torch.Tensor], dict] | None:
        """Return (tensors, meta) of the last save, or None. announce: say so on stderr."""
        found = load_checked(self.path) if self.path else None
        if found and announce:
            print("training goes on from its last checkpoint", file=sys.stderr)
        return found

    def save(self, tensors: Mapping[str, torch.Tensor], meta: Mapping) -> None:
        """Replace the last save."""
        if self.path:
            save_checked(self.path, tensors, meta)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Flatten an Adam-like state into named tensors, so that it needs no pickle."""
    return {
        f"optimizer.{index}.{name}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Put back what `optimizer_tensors` took. Hyperparameters stay those of the optimizer."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
