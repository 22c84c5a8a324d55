"""What every training loop shares: checkpoints that resume to the last bit, early stopping, one record an epoch."""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save

from glta.files import write_whole


class Diverged(ValueError):
    """Say that a training left the finite numbers: the fault of its parameters, not of its data."""


def epoch_rng(seed: int, epoch: int, stream: int = 0) -> np.random.Generator:
    """Make the generator of one epoch. It depends on (seed, stream, epoch) alone, so a resumed run needs no RNG state."""
    return np.random.default_rng([seed, stream, epoch])


def keep_freed_memory() -> None:
    """Let the C library keep freed blocks of up to 2 GB for the next step; where it is not glibc, do nothing.

    It gives blocks of some MB back to the system, and the next step gets them page by page, zeroed: a fifth of a training
    step on Gowalla for 2 % more memory (docs/performance.md). All is returned when the process ends.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None:
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(option, 2**31 - 1)


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping | None = None) -> None:
    """Write tensors (and a JSON-able mapping) to a safetensors file, atomically. Raises OSError when the disk is full."""
    metadata = {"meta": json.dumps(meta, sort_keys=True)} if meta is not None else None
    write_whole(path, save({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, metadata))


def load_tensors(path: Path, device: str | torch.device = "cpu") -> tuple[dict[str, torch.Tensor], dict]:
    """Read what `save_tensors` wrote: (tensors, meta). Raises ValueError, naming the file, when it is not such a file."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as f:
            meta = json.loads((f.metadata() or {}).get("meta", "{}"))
            return {k: f.get_tensor(k) for k in f.keys()}, meta  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise
    except Exception as error:  # safetensors raises its own type, without the file's name
        raise ValueError(f"{path}: not a readable safetensors file ({error}); delete it and run again") from error


def save_checked(path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping) -> None:
    """Write tensors with a digest of all of it: safetensors alone would read a file whose numbers were changed."""
    save_tensors(path, tensors, {"meta": meta, "digest": _digest(tensors, meta)})


def load_checked(path: Path) -> tuple[dict[str, torch.Tensor], dict] | None:
    """Read what `save_checked` wrote: (tensors, meta). None without a file; a damaged one is deleted, with a line about it."""
    if not path.exists():
        return None
    try:
        tensors, saved = load_tensors(path)
        if saved.get("digest") == _digest(tensors, saved.get("meta")):
            return tensors, saved["meta"]
    except ValueError:
        pass
    print(f"{path}: is damaged and was deleted; what it held is computed again", file=sys.stderr)
    path.unlink()
    return None


def _digest(tensors: Mapping[str, torch.Tensor], meta: Mapping | None) -> str:
    """Hash names, types, shapes and bytes."""
    found = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        tensor = tensor.detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy())
    return found.hexdigest()


class Checkpoint:
    """Keep the latest state of one training loop in a folder; without a folder, keep nothing.

    The folder belongs to one combination of inputs and parameters (the stage runner sees to that), so what is
    found there may be resumed if only it is whole.
    """

    def __init__(self, folder: Path | str | None):
        self.path = Path(folder) / "state.safetensors" if folder else None

    def load(self) -> tuple[dict[str, torch.Tensor], dict] | None:
        """Return (tensors, meta) of the last save, or None."""
        found = load_checked(self.path) if self.path else None
        if found:
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


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `optimizer_tensors` took. Hyperparameters stay those of the optimizer."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


class EarlyStopping:
    """Track the best value of a metric (higher is better) and say when `patience` evaluations brought none better."""

    def __init__(self, patience: int):
        self.patience = patience
        self.best, self.best_epoch, self.waited = -np.inf, -1, 0

    def update(self, value: float, epoch: int) -> bool:
        """Note one evaluation; returns whether it is the best so far."""
        if value > self.best:
            self.best, self.best_epoch, self.waited = value, epoch, 0
            return True
        self.waited += 1
        return False

    @property
    def stop(self) -> bool:
        return self.waited >= self.patience

    def state(self) -> dict:
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def restore(self, state: Mapping) -> None:
        self.best, self.best_epoch, self.waited = state["best"], state["best_epoch"], state["waited"]
