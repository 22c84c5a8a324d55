"""Checkpoints. A training that resumes from one gives the same numbers to the last bit."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from glta.storage.tensors import load_checked, save_checked


class Checkpoint:
    """Keep the latest state of one training in a folder. Without a folder, keep nothing.

    A folder belongs to one combination of inputs and parameters; the runner of the stages ensures
    this. So a checkpoint in it can be used, unless it is damaged.
    """

    def __init__(self, folder: Path | str | None):
        self.path = Path(folder) / "state.safetensors" if folder else None

    def load(self, announce: bool = True) -> tuple[dict[str, torch.Tensor], dict] | None:
        """Return the tensors and the meta data of the last checkpoint, or None without one.

        A damaged checkpoint is deleted. announce: print on stderr that the training resumes.
        """
        found = load_checked(self.path) if self.path else None
        if found and announce:
            print("training goes on from its last checkpoint", file=sys.stderr)
        return found

    def save(self, tensors: Mapping[str, torch.Tensor], meta: Mapping) -> None:
        """Replace the last checkpoint."""
        if self.path:
            save_checked(self.path, tensors, meta)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the state of an optimizer such as Adam as named tensors, to save without pickle."""
    return {
        f"optimizer.{index}.{name}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Restore the state that `optimizer_tensors` returned.

    tensors: may have other tensors too. The learning rate and so on are not restored.
    """
    state: dict[int, dict[str, torch.Tensor | float]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            # a count of steps that is an int: as a tensor, its powers would be of other precision
            count = value.ndim == 0 and not value.is_floating_point()
            state.setdefault(int(index), {})[name] = value.item() if count else value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
