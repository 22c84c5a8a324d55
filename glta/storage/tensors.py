"""Tensors in safetensors files, whole or not at all, with a digest where they are cached."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from glta.storage.files import write_whole


def save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping | None = None
) -> None:
    """Write tensors (and a JSON-able mapping) to a safetensors file, atomically.

    Raises OSError when the disk is full.
    """
    metadata = {"meta": json.dumps(meta, sort_keys=True)} if meta is not None else None
    write_whole(
        path,
        save({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, metadata),
    )


def load_tensors(
    path: Path, device: str | torch.device = "cpu"
) -> tuple[dict[str, torch.Tensor], dict]:
    """Read what `save_tensors` wrote: (tensors, meta).

    Raises ValueError, naming the file, when it is not such a file.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as f:
            meta = json.loads((f.metadata() or {}).get("meta", "{}"))
            return {k: f.get_tensor(k) for k in f.keys()}, meta  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise
    except Exception as error:  # safetensors raises its own type, without the file's name
        raise ValueError(
            f"{path}: not a readable safetensors file ({error}); delete it and run again"
        ) from error


def save_checked(path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping) -> None:
    """Write tensors with a digest of all of it: safetensors alone would read a file whose numbers
    were changed.
    """
    save_tensors(path, tensors, {"meta": meta, "digest": _digest(tensors, meta)})


def load_checked(path: Path) -> tuple[dict[str, torch.Tensor], dict] | None:
    """Read what `save_checked` wrote: (tensors, meta).

    None without a file; a damaged one is deleted, with a line about it.
    """
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
